# Needs git, make and Python 3.11 or newer with pip. Everything else is installed by the targets:
#   make demo     synthetic recordings -> pretraining -> embeddings -> probes -> demo/report.html
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

.PHONY: help install test lint format bench demo clean

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
	$(TEST_THREADS) $(RUN) pytest -n auto --dist loadfile $(PYTEST_ARGS)
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

bench: install
	for name in hbehavemae hieras_eval bams hysp; do echo; echo "# $$name"; $(RUN) python benchmarks/$$name.py; done

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

clean:
	rm -rf .venv .tools .envs dist demo
