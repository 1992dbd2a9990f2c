"""The configuration tree: the original's defaults, groups and experiments; mistakes named."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import yaml

from behaviorzoo.errors import UserError
from sgear import experiments
from sgear.config import checked, configure, help_text
from sgear.launcher import arguments
from sgear.tree import _options as options
from sgear.tree import compose
from sgear.txt import expand

DEFAULTS = """
expt_name: default
run_id: 0
seed: 42
sync_bn: false
transductive: false
test_only: false
pre_train: false
data_parallel: false
dist_backend: nccl
pytorch: {video_backend: video_reader}
train.batch_size: 16
train.init_from_model: null
train.num_epochs: 45
train.eval_freq: 1
train.shuffle_data: true
train.store_best: false
train.use_mixup: false
train.mixup_alpha: 0.0
train.label_smoothing: 0.0
train.train_one_epoch_fn.print_freq: 10
train.train_one_epoch_fn.print_large_freq: 1000
train.train_one_epoch_fn.save_freq: 0
train.train_one_epoch_fn.save_freq_min: 60
train.train_one_epoch_fn.save_intermediates: false
train.train_one_epoch_fn.grad_clip_params: {max_norm: null, norm_type: 2}
train.train_one_epoch_fn.loss_wts: {cls_action: 1, cls_verb: 1, cls_noun: 1, pred: 1, feat: 1,
  past_cls_action: 0, past_cls_verb: 0, past_cls_noun: 0, global_simContrast: 1.0,
  target_distance: 0.0, past_target_global_simContrast: 0.0}
eval: {batch_size: null, eval_fn: {store: true, store_endpoint: logits, only_run_featext: false,
  store_embeddings: false, store_embeddings_path: null}}
model.backbone_dim: 2048
model.proj_dim_text: 768
model.extracted_feats: false
model.multimodal: false
model.intermediate_featdim: null
model.backbone_last_n_modules_to_drop: 2
model.dropout: 0.0
model.backbone_add_ts_blocks: 0
model.num_hidden_layers: 12
model.tmp_frames: 10
model.model_name: vit
model.tubelet_size: 1
model.cls_token: true
model.from_pretrained_timm: false
model.project_dim_for_nce: null
model.add_regression_head: false
model.freeze_weights: false
model.bn: {eps: 0.001, mom: 0.1}
model.same_temp_agg_dim: false
model.use_cls_mappings: false
model.classifier_on_past: false
model.mean_representation: true
opt.lr_wd: [[__all__, 0.1, 0.0001]]
opt.scale_lr_by_bs: false
opt.classifier_only: false
opt.bias_bn_wd_scale: 1.0
opt.grad_clip: {max_norm: null, norm_type: 2}
opt.accumulate: 1
opt.warmup.init_lr_ratio: 0.0
opt.warmup.num_epochs: 0
moco: {dim: 128, K: 65536, m: 0.999, T: 0.2, mlp: true}
data_train.num_frames: 16
data_train.frame_rate: null
data_train.subclips: {num_frames: 16, stride: 16}
data_train.load_seg_labels: false
data_train.train_bs_multiplier: 5
data_train.val_clips_per_video: 1
data_train.workers: 10
data_train.scale_h: 128
data_train.scale_w: 174
data_train.crop_size: 112
data_train.mean: [0.43216, 0.394666, 0.37645]
data_train.std: [0.22803, 0.22145, 0.216989]
data_train.flip_p: 0.5
data_train.scale_pix_val: 1.0
data_train.reverse_channels: false
data_train.use_dist_sampler: true
data_train.eval_num_crops: 1
data_train.eval_flip_crops: false
"""
"""The original's defaults, as its tree resolves."""

VIDEO = {"model.backbone_dim": 768, "train.batch_size": 3, "train.num_epochs": 50}
VIDEO |= {"opt.warmup.num_epochs": 20, "opt.scheduler.num_epochs": 30, "opt.accumulate": 0}
VIDEO |= {"model.backbone_add_ts_blocks": 2, "model.freeze_weights": False}
VIDEO |= {"model.freeze_prototypes": False, "loss.past_cls_action": 1, "test_only": True}
VIDEO |= {"loss.global_simContrast": 4, "data_eval.eval_num_crops": 3, "data_train.mean": [0.5] * 3}
VIDEO |= {"data_train.scale_h": "384-425", "data_eval.scale_h": 388, "data_train.crop_size": 384}
VIDEO |= {"model.backbone_last_n_modules_to_drop": 0, "pre_train": False}
VIDEO |= {"model.backbone.model_type": "vit_base_patch16_384.orig_in21k_ft_in1k"}
FEATURES = {"train.batch_size": 16, "eval.batch_size": 16, "train.num_epochs": 20}
FEATURES |= {"opt.warmup.num_epochs": 0, "opt.scheduler.num_epochs": 20, "opt.accumulate": 4}
FEATURES |= {"model.backbone_add_ts_blocks": 0, "model.freeze_weights": True}
FEATURES |= {"model.freeze_prototypes": True, "loss.past_cls_action": 0, "test_only": False}
FEATURES |= {"loss.global_simContrast": 0, "model.extracted_features": True, "pre_train": True}
SHARED = {"model.dropout": 0.2, "model.classifier_on_past": True, "model.prot_attn": True}
SHARED |= {"opt.lr_wd": [["__all__", 1e-4, 1e-5]], "opt.bias_bn_wd_scale": 1}
SHARED |= {"model.intermediate_featdim": 768, "train.label_smoothing": 0.1}
SHARED |= {"train.mixup_alpha": 0.8, "train.use_mixup": False, "loss.cls_action": 1}
SHARED |= {"loss.feat": 1, "loss.target_distance": 1, "data_train.subclips.num_frames": 1}
SHARED |= {"data_eval.subclips.stride": 1, "train.train_one_epoch_fn.save_freq": 1}
SHARED |= {"dataset_train.sample_strategy": "last_clip", "opt.optimizer.momentum": 0.9}
SHARED |= {"dataset_eval.conv_to_anticipate_fn.drop_style": "correct"}
SHARED |= {"model.future_predictor.n_head": 4, "model.future_predictor.n_layer": 6}
SHARED |= {"model.future_predictor.inter_dim": 2048, "model.future_predictor.output_len": 1}
SHARED |= {"model.future_predictor.avg_last_n": 1, "model.future_predictor.return_past_too": True}
CLIP = {"data_train.num_frames": 15, "data_eval.frame_rate": 1, "model.tmp_frames": 15}
CLIP |= {"dataset_train.conv_to_anticipate_fn.tau_a": 1}
CLIP |= {"dataset_eval.conv_to_anticipate_fn.tau_o": 15}
RECOGNITION = {"data_train.num_frames": 10, "data_eval.frame_rate": 2, "model.tmp_frames": 10}
RECOGNITION |= {"dataset_train.conv_to_anticipate_fn.tau_a": -1}
RECOGNITION |= {"dataset_eval.conv_to_anticipate_fn.tau_o": 5}
PUBLISHED = {
    "vit": VIDEO | CLIP,
    "vit_AR": VIDEO | RECOGNITION,
    "tsn": FEATURES | CLIP | {"model.backbone_dim": 1024, "features": "rgb"},
    "tsn_obj": FEATURES | CLIP | {"model.backbone_dim": 352, "features": "obj"},
    "tsn_flow": FEATURES
    | CLIP
    | {"model.backbone_dim": 1024, "features": "flow", "test_only": True},
    "igm": FEATURES | CLIP | {"model.backbone_dim": 2048, "features": "igm", "test_only": True},
}


def at(tree, path):
    path = path.replace("loss.", "train.train_one_epoch_fn.loss_wts.")
    for name in path.split("."):
        tree = tree[name]
    return tree


def test_defaults_are_those_of_the_original():
    plain = compose([]).resolved()
    for path, value in yaml.safe_load(DEFAULTS).items():
        found = at(plain, path)
        assert found == value, path
        assert isinstance(found, bool) == isinstance(value, bool), path


def test_the_scheduler_is_asked_for_what_the_original_asks():
    tree = compose([], run_dir="/tmp/a b")
    launcher = tree.launcher()
    wanted = {"timeout_min": 28800, "cpus_per_task": 10, "gpus_per_node": 8, "tasks_per_node": 8}
    wanted |= {"mem_gb": 450, "nodes": 2, "name": "S-GEAR"}
    assert {key: launcher[key] for key in wanted} == wanted
    assert launcher["submitit_folder"] == "/tmp/a b/.submitit/%j"
    fewer = compose(["hydra.launcher.gpus_per_node=2", "+hydra.launcher.partition=fast"])
    assert fewer.launcher()["tasks_per_node"] == 2
    assert compose([]).hydra.hydra.run.dir == "./outputs/"


GROUPS = {
    "model/backbone": "vit_b vit_b_384 identity",
    "model/classifier": "linear mlp",
    "model/temporal_aggregator": "identity mean rulstm transformer",
    "model/temporal_aggregator_after_future_pred": "identity mean rulstm transformer",
    "model/future_predictor": "identity mlp transformer",
    "opt/optimizer": "adam adamW sgd adafactor",
    "opt/scheduler": "cosine warmup_multi_step reduce_lr_on_plateau",
    "train_eval_op/cls_loss_acc_fn": "basic no",
    "train_eval_op/reg_criterion": "mse simclr_infonce",
    "dataset/dundee50salads/annot_reader_fn": "orig frames",
}


def test_every_option_of_every_group_composes():
    for group, names in GROUPS.items():
        assert set(options(group)) == set(names.split()), group
    for number in range(4):
        picked = {
            group: names.split()[number % len(names.split())] for group, names in GROUPS.items()
        }
        configure([f"{group}={option}" for group, option in picked.items()])


def test_every_data_set_composes():
    names = [name for name in options("dataset") if "/common" not in name]
    assert len(names) >= 15
    words = [f"+dataset@dataset_eval_{i}={name}" for i, name in enumerate(names)]
    words += [f"+dataset@dataset_train_{i}={name}" for i, name in enumerate(names)]
    config, _ = configure(words)
    for number, name in enumerate(names):
        found = config.train_sets[f"dataset_train_{number}"]
        assert found == config.eval_sets[f"dataset_eval_{number}"]
        assert found.annotation_path
        strategy = "random_clip" if "train" in name else "center_clip"
        assert found.sample_strategy == ("last_clip" if "dundee" in name else strategy)
        anticipation = found.conv_to_anticipate_fn
        assert anticipation is not None
        assert (anticipation.tau_a, anticipation.tau_o) == (1.0, 2.5)
        if name.endswith("_minus_val_mm"):
            assert str(found.only_keep_videos).endswith("training_videos.csv")


@cache
def experiment(name, number=0):
    runs = expand(experiments.overrides(f"expts/{name}.txt"))
    return configure(arguments(runs[number]))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_experiments_say_what_the_original_says(name):
    config, tree = experiment(f"ek100_SGEAR_{name}")
    plain = tree.resolved()
    facts = {**SHARED, **PUBLISHED[name]}
    features = facts.pop("features", None)
    for path, value in facts.items():
        assert at(plain, path) == value, path
    assert config.settings.opt.accumulate == max(facts["opt.accumulate"], 1)
    [reader] = config.eval_sets["dataset_eval"].reader_fn
    assert reader.kind == ("lmdb" if features else "video")
    if features:
        assert reader.path[0].endswith(f"ek100_data_full/{features}")
        blocks = ["ProtAttn", "future_predictor", "classifier", "vis_prototypes"]
        assert config.settings.pretrain_blocks == blocks
    part = "test_timestamps" if name == "igm" else "validation"
    assert config.eval_sets["dataset_eval"].annotation_path[0].endswith(f"EPIC_100_{part}.pkl")


@pytest.mark.parametrize("name", [name[6:-4] for name in experiments.packaged()])
def test_every_packaged_experiment_composes(name):
    n_runs = len(expand(experiments.overrides(f"expts/{name}.txt")))
    assert n_runs == (5 if "50salads" in name else 1)
    for number in {0, n_runs - 1}:
        config, _ = experiment(name, number)
        config.network()
        if "50salads" in name:
            assert f".split{number + 1}." in config.train_sets["dataset_train"].annotation_path[0]
        if "egtea" in name and "AR" not in name:
            assert config.data_train.num_frames == 10
            anticipation = config.eval_sets["dataset_eval"].conv_to_anticipate_fn
            assert anticipation is not None
            assert (anticipation.tau_a, anticipation.tau_o) == (0.5, 10)
    assert experiments.heading(f"expts/{name}.txt")


def test_keys_are_regular_with_and_without_plus():
    for sign in ("", "+", "++"):
        config, _ = configure([f"{sign}model.prot_attn=true", f"{sign}train.batch_size=3"])
        assert config.settings.model.prot_attn
        assert config.settings.train.batch_size == 3


def test_old_names_are_read_as_the_new_ones():
    config, _ = configure(
        [
            "+model.mod_attn=true",
            "+model.freeze_gamma=true",
            "pre_train=true",
            "+model.pretrain_blocks=[CrossModAttn,TimeShift,org_gamma,classifier]",
        ]
    )
    assert config.settings.model.prot_attn
    assert config.settings.model.freeze_prototypes
    blocks = ["ProtAttn", "TCA", "vis_prototypes", "classifier"]
    assert config.settings.pretrain_blocks == blocks


def test_a_linked_section_can_be_changed_by_itself():
    config, _ = configure(
        ["data_eval=${data_train}", "data_eval.workers=0", "data_train.num_frames=4"]
    )
    assert (config.data_eval.num_frames, config.data_train.num_frames) == (4, 4)
    assert config.data_eval.subclips.num_frames == 4
    assert (config.data_eval.workers, config.data_train.workers) == (0, 10)


def test_resolvers_and_interpolations():
    config, tree = configure(
        [
            "opt/scheduler=cosine",
            "train.num_epochs=9",
            "opt.warmup.num_epochs=2",
            "train.batch_size='${times_int:2.5,3}'",
            "expt_name=${train.num_epochs}",
        ]
    )
    assert config.settings.opt.scheduler["num_epochs"] == 7
    assert config.settings.train.batch_size == 7
    assert tree.config._get_node("expt_name")._value() == "${train.num_epochs}"


def test_deletions():
    config, _ = configure(
        ["~dataset_train.reader_fn", "+dataset_train.reader_fn={_target_: x.y.DefaultReader}"]
    )
    assert config.train_sets["dataset_train"].reader_fn[0].kind == "video"
    config, _ = configure(["~dataset_train.conv_to_anticipate_fn"])
    assert config.train_sets["dataset_train"].conv_to_anticipate_fn is not None
    config, _ = configure(["dataset_train.conv_to_anticipate_fn=null"])
    assert config.train_sets["dataset_train"].conv_to_anticipate_fn is None


@pytest.mark.parametrize(
    "reader",
    [
        "dataset_train.reader_fn._target_=datasets.reader_fns.EpicRULSTMFeatsReader",
        "dataset_train.reader_fn._target_=[datasets.reader_fns.EpicRULSTMFeatsReader]",
        "dataset_train.reader_fn={kind: lmdb}",
        "+dataset.epic_kitchens100.common.reader_fn._target_=a.EpicRULSTMFeatsReader",
    ],
)
def test_readers_as_text_list_or_mapping(reader):
    section = reader.lstrip("+").partition("=")[0].removesuffix("._target_")
    config, _ = configure([reader, f"+{section}.lmdb_path=feats"])
    [found] = config.train_sets["dataset_train"].reader_fn
    assert (found.kind, found.path) == ("lmdb", ["feats"])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("+hydra.launcher.nods=3", "hydra.launcher.nods: unknown key; did you mean 'nodes'?"),
        ("+train.batch_sise=3", "train.batch_sise: unknown key; did you mean 'train.batch_size'?"),
        ("model/backbone=vit_c", "did you mean 'vit_b'?"),
        ("model/backbon=vit_b", "did you mean 'model/backbone'?"),
        ("data@data_trian=default", "did you mean 'data@data_train'?"),
        ("dataset@dataset_train=epic_kitchens100/anticipation_trian", "anticipation_train'?"),
        ("data_train.num_frames=1,2", "several values make several runs"),
        ("foo", "'foo' is not of the form key=value"),
        ("~train.bach_size", "no such key; did you mean 'train.batch_size'?"),
        ("expt_name=${nothere}", "Interpolation key 'nothere' not found"),
        ("train.init_from_model=[", "cannot read the value of 'train.init_from_model=['"),
    ],
)
def test_words_that_mean_nothing_are_named_in_one_line(word, message):
    with pytest.raises(UserError) as error:
        configure([word])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model.freeze_prototype", True, "did you mean 'model.freeze_prototypes'?"),
        ("dataset_train.tau_a", 3, "did you mean 'dataset_train.conv_to_anticipate_fn.tau_a'?"),
        ("dataset_eval.reader_fm", 3, "did you mean 'dataset_eval.reader_fn'?"),
        ("foo", 1, "foo: unknown key"),
        ("train.batch_size", "x", "train.batch_size: got 'x', expected int"),
        ("train.batch_size", True, "got true, expected int"),
        ("train.batch_size", 0, "batch_size = 0 must be at least 1"),
        ("eval.batch_size", 0, "batch_size = 0 must be at least 1"),
        ("seed", 1.5, "seed: got 1.5, expected int"),
        ("seed", -1, "seed = -1 must be at least 0"),
        ("dataset_train.fold", "a", "dataset_train.fold: got 'a', expected int"),
        ("dataset_train.kind", "epik", "did you mean 'epic'?"),
        ("dataset_train.reader_fn", {"_target_": "x.Foo"}, "no reader 'Foo'"),
        ("data_train.num_frames", [1], "data_train.num_frames: got [1], expected int"),
        ("opt.lr_wd", [1, 2], "lr_wd: 1 is not [names, rate, weight decay]"),
        ("train.num_epochs", -1, "num_epochs = -1 must be at least 0"),
        ("pre_train", True, "name blocks"),
        ("train.use_mixup", True, "mixup_alpha=0"),
        ("train.label_smoothing", 1.0, "below 1"),
        ("train.train_one_epoch_fn.loss_wts.cls_actoin", 1, "loss_wts.cls_action'?"),
        ("precision", "fp8", "'fp8' is not one of 'auto' or 'fp32'"),
    ],
)
def test_values_that_cannot_be_are_named_in_one_line(plain, key, value, message):
    section, _, last = key.rpartition(".")
    (at(plain, section) if section else plain)[last] = value
    with pytest.raises(UserError) as error:
        checked(plain)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.fixture
def plain():
    return copy.deepcopy(_plain())


@cache
def _plain():
    return compose([]).resolved()


def test_all_mistakes_are_told_at_once(plain):
    plain |= {"seed": "x", "foo": 3}
    plain["train"]["batch_sise"] = 3
    with pytest.raises(UserError) as error:
        checked(plain)
    assert len(str(error.value).splitlines()) == 4


def test_both_kinds_of_data_sets_are_needed(plain):
    del plain["dataset_train"]
    with pytest.raises(UserError, match="no dataset_train: at least one of each is needed"):
        checked(plain)


def test_saved_settings_are_settings():
    config, tree = configure(["train.batch_size=3"])
    again = checked(yaml.safe_load(yaml.safe_dump(config.plain)))
    assert again.settings == config.settings
    assert again.train_sets == config.train_sets
    assert "batch_size: 3" in config.to_yaml()
    assert tree.overrides == ("train.batch_size=3",)


def test_help_lists_keys_with_type_default_and_meaning():
    listing = help_text()
    assert "train.batch_size (int, default 16)\n    clips of a batch, per process" in listing
    assert "dataset_train, dataset_eval: sample_strategy (" in listing
    assert "data_train, data_eval: num_frames (int, default 16)" in listing


def test_hydra_is_left_as_it_was_found():
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig

    before = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    configure([])
    with pytest.raises(UserError):
        configure(["foo=${bar}"])
    assert (GlobalHydra.instance().hydra, HydraConfig.instance().cfg) == before
