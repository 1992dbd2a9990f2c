"""Configurations: the published ones, shortcuts, words of the command line, keys that are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from behaviorzoo.errors import UserError
from uas_swin.cli import main
from uas_swin.config import config_path, load_config, packaged, parse_value

MAMMALS, CHIMPS = "data/mammalnet/", "data/chimpbehave/"
PUBLISHED: dict[str, dict[str, Any]] = {
    **{
        f"mammalnet_k{k}": {"classes": 12, "weights": k, "test": f"{MAMMALS}test_base.txt",
                            "batch": 1, "views": (4, 2), "interval": 2}
        for k in (400, 600)
    },
    **{
        f"chimpBehave_k{k}": {"classes": 7, "weights": k, "test": f"{CHIMPS}chimpbehave_val.txt",
                              "batch": 2, "views": (1, 2), "interval": 1}
        for k in (400, 600, 700)
    },
    **{
        f"kinetics700_diff_k600{kind}": {
            "classes": 103, "weights": 600, "test": "data/kinetics700_diff/k700_diff_val.txt",
            "batch": 1, "views": (4, 2), "interval": 2}
        for kind in ("", "_lora", "_full")
    },
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_configuration(name):
    expected, config = PUBLISHED[name], load_config(name)
    assert config.model.cls_head.num_classes == expected["classes"]
    assert config.model.freeze_backbone is (not name.endswith("_full"))
    assert config.load_from.endswith(f"kinetics{expected['weights']}_22k.pth")
    assert config.test_dataloader.dataset.ann_file == expected["test"]
    assert config.train_dataloader.batch_size == expected["batch"]
    assert config.train_dataloader.num_workers == 4
    assert config.optim_wrapper.accumulative_counts == 8
    sampling = {s: config[f"{s}_dataloader"].dataset.pipeline[1] for s in ("train", "val", "test")}
    assert (sampling["test"].num_clips, sampling["test"].frame_interval) == expected["views"]
    assert sampling["train"].frame_interval == sampling["val"].frame_interval
    assert sampling["train"].frame_interval == expected["interval"]
    assert "test_mode" not in sampling["train"]
    assert all(s.clip_len == 32 for s in sampling.values())
    backbone = config.model.backbone
    assert backbone.use_lora is name.endswith("_lora")
    assert (backbone.arch, backbone.drop_path_rate) == ("base", 0.2)
    assert config.model.test_cfg.max_testing_views == 2
    assert config.train_cfg.max_epochs == 30
    assert Path(config.work_dir).name.endswith(name)
    if name.endswith("_lora"):
        assert (backbone.lora_rank, backbone.lora_alpha) == (32, None)


def test_variants_of_video_swin():
    one_k, large = load_config("kinetics400_1k"), load_config("kinetics600_22k")
    assert one_k.optim_wrapper.optimizer.lr == 1e-3
    assert one_k.model.backbone.drop_path_rate == 0.3
    assert one_k.model.test_cfg.max_testing_views == 4
    assert large.model.cls_head.num_classes == 600
    assert not large.model.freeze_backbone


def test_names_of_the_original_lead_to_the_same_file():
    short = config_path("mammalnet_k600")
    long = "configs/recognition/swin/swin_base_patch244_window877_mammalnet_k600.py"
    assert config_path(long) == config_path(Path(long).stem) == short
    assert "mammalnet_k600" in packaged()
    with pytest.raises(UserError, match="did you mean 'mammalnet_k600'"):
        config_path("mamalnet_k600")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3), ("3e-4", 3e-4), ("True", True), ("false", False), ("None", None),
        ("(-1,256)", (-1, 256)), ("[a, b]", ["a", "b"]), ("a,b", ["a", "b"]), ("1,3", (1, 3)),
        ("my videos/list 1.txt", "my videos/list 1.txt"), ("'7'", "7"), ("[]", []), ("", ""),
    ],
)  # fmt: skip
def test_values_of_words(text, value):
    assert parse_value(text) == value


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("freeze_backbon=True", "did you mean 'freeze_backbone'"),
        ("model.backbone.lora_rnk=8", "no key 'lora_rnk' in model.backbone; .*'lora_rank'"),
        ("model.cls_head.num_clases=8", "'num_classes'"),
        ("train_dataloader.bach_size=2", "'batch_size'"),
        ("train_dataloader.dataset.anfile=x", "'ann_file'"),
        ("train_dataloader.dataset.pipeline.3.scal=8", "did you mean 'scale'"),
        ("train_dataloader.dataset.pipeline.1.clip_length=8", "'clip_len'"),
        ("optim_wrapper.optimizer.learn=1", "no key 'learn'"),
        ("optim_wrapper.accumulative_count=1", "'accumulative_counts'"),
        ("param_scheduler.warmup_epoch=3", "'warmup_epochs'"),
        ("train_cfg.epochs=3", "'max_epochs'"),
        ("lists.trian=a.txt", "did you mean 'train'"),
        ("default_hooks.checkpoint.intervl=1", "'interval'"),
        ("train_pipeline.1.clip_len=8", "is a variable of the file"),
        ("data.videos_per_gpu=8", "is train_dataloader.batch_size .* today"),
        ("total_epochs=8", "train_cfg.max_epochs today"),
        ("optimizer.lr=1e-3", "optim_wrapper.optimizer.lr today"),
        ("model.backbone.use_checkpoint=True", "model.backbone.with_cp today"),
        ("train_dataloader.dataset.pipeline.99.x=1", "the list has 9 entries"),
        ("test_dataloader.batch_size=4", "max_testing_views=2 parts the views of one video"),
        ("optim_wrapper.optimizer.lr=fast", "lr=fast: expected a number, such as 0.0003"),
        ("train_dataloader.dataset.pipeline.1.clip_len=all", "expected a number, such as 32"),
        ("model", "write key=value"),
    ],
)
def test_wrong_words_are_refused_with_the_nearest_key(word, message):
    with pytest.raises(UserError, match=message):
        load_config("mammalnet_k600", [word])


def test_words_change_the_configuration():
    words = ["model.backbone.use_lora=True", "model.backbone.lora_rank=4", "lists.videos=my videos",
             "classes=a,b,c", "lists.val=v.txt", "train_dataloader.num_workers=0"]  # fmt: skip
    config = load_config("mammalnet_k600", words)
    assert config.model.backbone.lora_rank == 4
    assert config.model.cls_head.num_classes == 3
    for split in ("train", "val", "test"):
        dataset = config[f"{split}_dataloader"].dataset
        assert dataset.num_classes == 3
        assert dataset.classes == ["a", "b", "c"]
        assert dataset.data_prefix == {"video": "my videos"}
    assert config.test_dataloader.dataset.ann_file == "v.txt"  # the test list is the val list
    assert not config.train_dataloader.persistent_workers


def own(folder: Path, text: str) -> Path:
    path = folder / "own.py"
    path.write_text(f"_base_ = {str(config_path('mammalnet_k600'))!r}\n{text}")
    return path


def test_files_of_users(tmp_path):
    path = own(tmp_path, "clip = 16\nmodel = dict(backbone=dict(arch='tiny'))\n")
    config = load_config(path)
    assert config.model.cls_head.in_channels == 768
    assert config.model.cls_head.num_classes == 12


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("freeze_backbon = True", "own.py: no key 'freeze_backbon'; did you mean"),
        ("model = dict(backbone=dict(lora_rnk=8))", "own.py: no key 'lora_rnk' in model.backbone"),
        ("total_epochs = 3", "own.py: total_epochs of the original is train_cfg.max_epochs"),
        ("custom_hooks = [dict(type='NoSuchHook')]", "no part is called type='NoSuchHook'"),
        ("x = 1 / 0", "own.py: cannot be opened .ZeroDivisionError"),
        ("x = (", "own.py: cannot be opened .SyntaxError"),
        ("model = dict(backbone=dict(arch='tinny'))", "arch: unknown 'tinny'; did you mean 'tiny'"),
        ("classes = 'nowhere.txt'", "nowhere.txt: no such class file"),
    ],
)
def test_mistakes_in_files_of_users(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        load_config(own(tmp_path, text))


def test_a_base_that_is_missing(tmp_path):
    path = tmp_path / "own.py"
    path.write_text("_base_ = 'gone.py'")
    with pytest.raises(UserError, match=r"own.py: cannot be opened \(FileNotFoundError"):
        load_config(path)
    path.write_text("model = dict(type='UASRecognizer3D')")
    with pytest.raises(UserError, match="no 'work_dir'; build on a packaged configuration"):
        load_config(path)


def test_info_lists_and_dumps(tmp_path, capsys):
    assert main(["info"]) == 0
    listing = capsys.readouterr().out.splitlines()
    line = next(line for line in listing if line.split()[0] == "chimpBehave_k700")
    assert line.endswith("Linear probe of ChimpBehave's 7 behaviours on a Kinetics-700 backbone.")
    path = tmp_path / "flat.py"
    tiny = own(tmp_path, "model = dict(backbone=dict(arch='tiny', depths=None))")
    tiny.write_text(tiny.read_text().replace(", depths=None", ""))
    assert main(["info", str(tiny), "--dump", str(path)]) == 0
    assert "Video Swin, tiny" in capsys.readouterr().out
    assert load_config(path).model == load_config(tiny).model
    path.write_text("changed by its owner")
    assert main(["info", str(tiny), "--dump", str(path)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert path.read_text() == "changed by its owner"
    assert main(["info", str(tiny), "--dump", str(tmp_path / "flat.pth")]) == 2
    assert capsys.readouterr().out == "", "told before the network is built"
    assert main(["info", "nothing"]) == 2
