"""Files of the authors, of mmaction2 and of our training; branches merged; weights of pictures."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from mmengine.logging import HistoryBuffer

from behaviorzoo.errors import UserError
from uas_swin.author_options import (
    backbone_options,
    inferred_options,
    options_from_text,
    recognizer_options,
)
from uas_swin.checkpoints import (
    build_model,
    build_recognizer,
    load_backbone,
    load_weights,
    read_checkpoint,
)
from uas_swin.convert import convert
from uas_swin.info import information
from uas_swin.layout import layout_of, to_authors, to_ours
from uas_swin.merge import merge_file, merge_lora
from uas_swin.runtime import load_from_local

ARCH = {"embed_dims": 8, "depths": [2, 1], "num_heads": [2, 4]}
WINDOW = (2, 3, 3)


def recognizer(classes: int | None = 3, seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    backbone = {"type": "UASSwinTransformer3D", "arch": ARCH, "window_size": WINDOW, **options}
    config: dict[str, Any] = {"backbone": backbone}
    if classes:
        config["cls_head"] = {"type": "I3DHead", "num_classes": classes, "in_channels": 16}
    model = build_recognizer(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape))
    return model.eval()


def authors_file(path: Path, model: Any, prefix: str = "", **content: Any) -> Path:
    state = {prefix + n: v for n, v in to_authors(model.state_dict()).items()}
    torch.save({"meta": {"epoch": 3}, "state_dict": state, "optimizer": {}, **content}, path)
    return path


def features(model: Any, seed: int = 1) -> torch.Tensor:
    x = torch.randn(2, 3, 4, 24, 24, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return model.backbone(x)


def test_names_both_ways():
    state = recognizer(use_lora=True, lora_rank=2, lora_layer_type="all").state_dict()
    theirs = to_authors(state)
    assert layout_of(state) == "ours"
    assert layout_of(theirs) == "authors"
    changed = {n for n in theirs if n not in state}
    assert changed == {"backbone.norm.weight", "backbone.norm.bias"}
    assert list(to_ours(theirs)) == list(state)
    wrapped = {f"module.{n}": v for n, v in theirs.items()}
    assert list(to_ours(wrapped)) == list(state)
    assert layout_of(wrapped) == "authors"
    assert layout_of({"backbone.conv.weight": 0}) == "unknown"


@pytest.mark.parametrize("prefix", ["", "module."])
def test_file_of_the_authors(tmp_path, prefix):
    model = recognizer()
    path = authors_file(tmp_path / "a.pth", model, prefix)
    checkpoint = read_checkpoint(path)
    assert (checkpoint.layout, checkpoint.n_classes, checkpoint.notes) == ("authors", 3, [])
    again = build_model(path)
    assert not again.training
    torch.testing.assert_close(features(again), features(model), rtol=0, atol=0)
    bare = tmp_path / "bare.pth"
    torch.save(to_authors(model.state_dict()), bare)
    torch.testing.assert_close(features(build_model(bare)), features(model), rtol=0, atol=0)


def test_plain_loaders_take_both_layouts():
    """torch's and mmengine's own loaders, as mmengine's runner uses them."""
    from mmengine.runner.checkpoint import load_state_dict

    model = recognizer()
    for state in (model.state_dict(), to_authors(model.state_dict())):
        other = recognizer(seed=5)
        other.load_state_dict(state)
        torch.testing.assert_close(features(other), features(model), rtol=0, atol=0)
        other = recognizer(seed=5)
        load_state_dict(other, OrderedDict(state), strict=True)
        torch.testing.assert_close(features(other), features(model), rtol=0, atol=0)


def test_another_head_is_left_out_with_a_line(tmp_path):
    path = authors_file(tmp_path / "a.pth", recognizer(classes=5))
    model = recognizer(classes=3, seed=2)
    before = deepcopy(model.cls_head.state_dict())
    notes = load_weights(model, path)
    assert len(notes) == 1
    assert "cls_head.fc_cls.weight (5, 16)" in notes[0]
    for name, value in model.cls_head.state_dict().items():
        assert torch.equal(value, before[name])
    torch.testing.assert_close(features(model), features(recognizer(5)), rtol=0, atol=0)


def test_head_missing_on_either_side(tmp_path):
    with_head = authors_file(tmp_path / "a.pth", recognizer())
    without = authors_file(tmp_path / "b.pth", recognizer(classes=None))
    assert "there is none here" in load_weights(recognizer(classes=None, seed=3), with_head)[0]
    assert "has no head" in load_weights(recognizer(seed=3), without)[0]
    backbone = recognizer(seed=3).backbone
    load_backbone(backbone, with_head)
    assert torch.equal(backbone.norm1.weight, recognizer().backbone.norm1.weight)


def test_branches_that_a_file_lacks_keep_their_start(tmp_path):
    path = authors_file(tmp_path / "a.pth", recognizer())
    model = recognizer(use_lora=True, lora_rank=2, seed=4)
    start = model.backbone.layers[0].blocks[0].attn.lora_q.lora_A.weight.clone()
    notes = load_weights(model, path)
    assert len(notes) == 1
    assert "has no 12 weights of branches" in notes[0]
    assert torch.equal(model.backbone.layers[0].blocks[0].attn.lora_q.lora_A.weight, start)


def test_strict_otherwise(tmp_path):
    adapted = authors_file(tmp_path / "l.pth", recognizer(use_lora=True, lora_rank=2))
    with pytest.raises(UserError, match="merge-lora"):
        load_weights(recognizer(), adapted)
    state = to_authors(recognizer().state_dict())
    state.pop("backbone.norm.weight")
    state["backbone.extra"] = torch.zeros(1)
    state["backbone.layers.0.blocks.0.mlp.fc1.bias"] = torch.zeros(3)
    torch.save({"state_dict": state}, tmp_path / "broken.pth")
    with pytest.raises(UserError) as caught:
        load_weights(recognizer(), tmp_path / "broken.pth")
    for part in ("1 missing: backbone.norm1.weight", "1 unexpected: backbone.extra", "fc1.bias"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {"a": torch.zeros(1)}}, "no recognizer with a Video Swin backbone"),
        ({"weights": 3}, "no state dict"),
        (
            {"backbone.norm.weight": torch.zeros(1)},
            "no Video Swin transformer, its weights lack",
        ),
    ],
)
def test_other_files(tmp_path, content, message):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(UserError, match=message):
        read_checkpoint(tmp_path / "x.pth")


def test_network_is_told_by_its_weights():
    model = recognizer(
        use_lora=True, lora_rank=2, lora_layer_type="mlp", lora_type="last", mlp_ratio=2.0,
        qkv_bias=False, patch_norm=False, patch_size=(4, 2, 4), in_channels=2,
    )  # fmt: skip
    found = inferred_options(model.state_dict(), "x")["backbone"]
    expected = {
        "arch": ARCH, "patch_size": (4, 2, 4), "in_channels": 2, "window_size": WINDOW,
        "mlp_ratio": 2.0, "qkv_bias": False, "patch_norm": False, "use_lora": True,
        "lora_rank": 2, "lora_type": "last", "lora_layer_type": "mlp",
    }  # fmt: skip
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize("window", [(8, 7, 7), (2, 7, 7), (7, 2, 3), (3, 2, 7), (1, 4, 4)])
def test_window_is_told_by_the_index(window):
    """(7, 2, 3) and (3, 2, 7) have tables of the same length."""
    model = recognizer(window_size=window)
    state = dict(model.state_dict())
    assert inferred_options(state, "x")["backbone"]["window_size"] == window


def test_missing_index_means_the_published_window():
    state = recognizer(window_size=(8, 7, 7)).state_dict()
    state = {n: v for n, v in state.items() if not n.endswith("position_index")}
    assert inferred_options(state, "x")["backbone"]["window_size"] == (8, 7, 7)


TEXT = """
_base_ = ['../x.py']
model = dict(
    type='Recognizer3D',
    backbone=dict(use_lora=True, lora_rank=2, lora_alpha=8, drop_path_rate=0.3),
    test_cfg=dict(average_clips='score', max_testing_views=2))
data = open('/etc/passwd')
"""


def test_configuration_in_a_file_is_read_and_not_run(tmp_path):
    assert options_from_text(TEXT)["backbone"]["lora_alpha"] == 8
    trap = f"model = dict(a=__import__('pathlib').Path('{tmp_path}/owned').touch())"
    assert options_from_text(trap) == {}
    assert not list(tmp_path.iterdir())
    for other in ("model = 3", "model =", None, "x = 1", "model = dict(**{'a': 1})"):
        assert options_from_text(other) == {}


def test_scaling_of_branches_comes_from_the_configuration(tmp_path):
    model = recognizer(use_lora=True, lora_rank=2, lora_alpha=8)
    told = authors_file(tmp_path / "t.pth", model, meta={"config": TEXT})
    checkpoint = read_checkpoint(told)
    assert checkpoint.lora_scaling == 4.0
    assert checkpoint.notes == []
    assert checkpoint.model["test_cfg"] == {"average_clips": "score", "max_testing_views": 2}
    torch.testing.assert_close(features(build_model(told)), features(model), rtol=0, atol=0)
    untold = read_checkpoint(authors_file(tmp_path / "u.pth", model))
    assert untold.lora_scaling == 1.0
    assert "does not tell lora_alpha" in untold.notes[0]
    assert read_checkpoint(tmp_path / "u.pth", lora_alpha=8).lora_scaling == 4.0


@pytest.mark.parametrize("layers", ["qv", "qkv", "qkvo", "mlp", "all"])
@pytest.mark.parametrize("to", ["ours", "authors"])
def test_merged_network_computes_the_same(tmp_path, layers, to):
    options = {"use_lora": True, "lora_rank": 3, "lora_alpha": 2, "lora_layer_type": layers}
    model = recognizer(**options)
    source = authors_file(tmp_path / "a.pth", model)
    out = tmp_path / "merged.pth"
    assert merge_file(source, out, to=to, lora_alpha=2) == []
    merged = read_checkpoint(out)
    assert merged.layout == to
    assert "use_lora" not in merged.model["backbone"]
    assert merged.meta["merged_lora_scaling"] == pytest.approx(2 / 3)
    torch.testing.assert_close(features(build_model(out)), features(model), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(features(recognizer()), features(model), rtol=1e-2)

    state = merge_lora(model.double().state_dict(), 2 / 3)
    plain = recognizer().double()
    plain.load_state_dict(state)
    x = torch.randn(1, 3, 4, 24, 24, dtype=torch.float64)
    with torch.no_grad():
        found, expected = plain.backbone(x), model.backbone(x)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_branches_are_not_merged_onto_themselves(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"whatever it holds")
    with pytest.raises(UserError, match="is the checkpoint to read"):
        merge_file(tmp_path / "a.pth", tmp_path / "a.pth")
    assert (tmp_path / "a.pth").read_bytes() == b"whatever it holds"


def test_nothing_to_merge(tmp_path):
    path = authors_file(tmp_path / "a.pth", recognizer())
    with pytest.raises(UserError, match="has no low-rank branches"):
        merge_file(path, tmp_path / "out.pth")
    assert not (tmp_path / "out.pth").exists()


def test_converting_there_and_back(tmp_path):
    model = recognizer(use_lora=True, lora_rank=2, lora_alpha=8)
    meta = {"config": TEXT, "CLASSES": ["a", "b", "c"], "hook_msgs": {}}
    source = authors_file(tmp_path / "a.pth", model, meta=meta)
    ours, back = tmp_path / "ours.pth", tmp_path / "back.pth"
    assert convert(source, ours, to="ours") == []
    checkpoint = read_checkpoint(ours)
    assert checkpoint.layout == "ours"
    assert checkpoint.lora_scaling == 4.0
    assert checkpoint.meta["CLASSES"] == ["a", "b", "c"]
    assert checkpoint.meta["converted_from"] == "a.pth"
    with pytest.raises(UserError, match="is the checkpoint to read; give another file"):
        convert(ours, ours.parent / "." / ours.name, to="authors")
    convert(ours, back, to="authors")
    first, last = (torch.load(p, weights_only=True)["state_dict"] for p in (source, back))
    assert set(first) == set(last)
    assert all(torch.equal(first[n], last[n]) for n in first)
    with pytest.raises(UserError, match="has the authors' layout already"):
        convert(source, tmp_path / "x.pth", to="authors")
    with pytest.raises(UserError, match="this is a folder"):
        convert(source, tmp_path, to="ours")


class Trap:
    def __reduce__(self) -> Any:
        return os.system, ("touch owned",)


def test_hostile_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {}, "meta": Trap()}, "trap.pth")
    with pytest.raises(UserError, match=r"refused, the file asks for 'posix\.system'"):
        load_from_local("trap.pth")
    Path("plain.pth").write_bytes(pickle.dumps({"state_dict": Trap()}))
    with pytest.raises(UserError, match=r"refused|truncated"):
        load_from_local("plain.pth")

    class Attribute:
        def __reduce__(self) -> Any:
            return getattr, (HistoryBuffer, "__init__")

    torch.save({"message_hub": Attribute()}, "attribute.pth")
    with pytest.raises(UserError):
        load_from_local("attribute.pth")
    assert not Path("owned").exists()
    for content in (b"", b"no"):
        Path("x.pth").write_bytes(content)
        with pytest.raises(UserError, match=r"x\.pth"):
            load_from_local("x.pth")
    with pytest.raises(UserError, match="no such checkpoint"):
        load_from_local("absent.pth")


def test_logs_of_mmengine_are_let_in(tmp_path):
    log = HistoryBuffer([1.0, 3.0], [1, 1])
    hub = {"log_scalars": OrderedDict(loss=log), "n": np.float64(2), "a": np.arange(3)}
    meta = {"config": "import os", "epoch": 1}
    torch.save({"meta": meta, "state_dict": {}, "message_hub": hub}, tmp_path / "x.pth")
    content = load_from_local(tmp_path / "x.pth")
    loaded = content["message_hub"]["log_scalars"]["loss"]
    assert (loaded.mean(), loaded.statistics("max")) == (2.0, 3.0)
    assert content["message_hub"]["a"].tolist() == [0, 1, 2]
    # mmengine runs what it finds under this name when it resumes.
    assert content["meta"] == {"config_text": "import os", "epoch": 1}


def picture_weights(side: int = 3) -> dict[str, torch.Tensor]:
    """What a Swin transformer for pictures with the same blocks would have."""
    generator = torch.Generator().manual_seed(3)
    state = {}
    for name, value in to_authors(recognizer(classes=None).state_dict()).items():
        bare = name.removeprefix("backbone.")
        shape = list(value.shape)
        if bare.endswith("position_index"):
            continue
        if bare == "patch_embed.proj.weight":
            shape = [8, 3, 4, 4]
        elif bare.endswith("bias_table"):
            shape[0] = (2 * side - 1) ** 2
        state[bare] = torch.randn(shape, generator=generator)
    state["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(9, 9)
    state["layers.0.blocks.1.attn_mask"] = torch.zeros(4, 9, 9)
    state["head.weight"], state["head.bias"] = torch.zeros(10, 16), torch.zeros(10)
    return state


@pytest.mark.parametrize("side", [3, 5])
def test_inflated_pictures(tmp_path, side):
    pictures = picture_weights(side)
    torch.save({"model": pictures}, tmp_path / "p.pth")
    model = build_recognizer(
        {
            "backbone": {
                "type": "UASSwinTransformer3D", "arch": ARCH, "window_size": WINDOW,
                "pretrained": str(tmp_path / "p.pth"), "use_lora": True, "lora_rank": 2,
            }
        }
    )  # fmt: skip
    model.init_weights()
    backbone = model.backbone
    patch = pictures["patch_embed.proj.weight"]
    for depth in range(2):
        assert torch.equal(backbone.patch_embed.proj.weight[:, :, depth], patch / 2)
    assert torch.equal(backbone.norm1.weight, pictures["norm.weight"])
    table = pictures["layers.0.blocks.1.attn.relative_position_bias_table"]
    if side == 5:
        square = table.T.reshape(1, 2, 9, 9)
        table = F.interpolate(square, size=(5, 5), mode="bicubic").flatten(2)[0].T
    found = backbone.layers[0].blocks[1].attn.relative_position_bias_table.view(3, 25, 2)
    for rows in found:
        torch.testing.assert_close(rows, table)
    assert backbone.layers[0].blocks[0].attn.lora_q.lora_B.weight.abs().sum() == 0

    still = torch.randn(1, 3, 1, 24, 24).repeat(1, 1, 4, 1, 1)
    with torch.no_grad():
        embedded = backbone.patch_embed.proj(still)[0, :, 0]
        expected = F.conv2d(still[:, :, 0], patch, pictures["patch_embed.proj.bias"], stride=4)[0]
    torch.testing.assert_close(embedded, expected, rtol=1e-4, atol=1e-4)


def test_pictures_that_do_not_fit(tmp_path):
    def start(content: Any) -> None:
        torch.save(content, tmp_path / "p.pth")
        backbone = {"type": "UASSwinTransformer3D", "arch": ARCH, "window_size": WINDOW}
        backbone["pretrained"] = str(tmp_path / "p.pth")
        build_recognizer({"backbone": backbone}).init_weights()

    with pytest.raises(UserError, match="under 'model'"):
        start({"state_dict": {}})
    with pytest.raises(UserError, match=r"patch_embed\.proj\.weight is missing"):
        start({"model": {}})
    weights = picture_weights()
    weights.pop("layers.0.blocks.0.norm1.weight")
    with pytest.raises(UserError, match=r"1 missing: layers\.0\.blocks\.0\.norm1\.weight"):
        start({"model": weights})


def test_start_from_a_recognizer(tmp_path):
    path = authors_file(tmp_path / "a.pth", recognizer())
    backbone = {"type": "UASSwinTransformer3D", "arch": ARCH, "window_size": WINDOW}
    model = build_recognizer(
        {"backbone": {**backbone, "pretrained": str(path), "pretrained2d": False}}
    )
    model.init_weights()
    torch.testing.assert_close(features(model.eval()), features(recognizer()), rtol=0, atol=0)


def test_options_of_the_authors():
    options = recognizer_options(
        {
            "type": "Recognizer3D",
            "backbone": {"embed_dim": 8, "depths": [1], "num_heads": [2], "use_checkpoint": True},
            "cls_head": {"type": "I3DHead", "num_classes": 2, "in_channels": 8},
        },
        compat="upstream",
    )
    backbone = options["backbone"]
    # What the authors' class has where a configuration is silent.
    assert (backbone["patch_size"], backbone["window_size"]) == ((4, 4, 4), (2, 7, 7))
    assert (backbone["patch_norm"], backbone["drop_path_rate"]) == (False, 0.2)
    assert backbone["with_cp"] is True
    assert backbone["lora_init"] == "upstream"
    model = build_recognizer(options)
    assert model.backbone.patch_embed.norm is None
    with pytest.raises(UserError, match="no argument 'embed_dims'; did you mean 'embed_dim'"):
        backbone_options({"embed_dims": 8})


def test_information(tmp_path):
    model = recognizer(use_lora=True, lora_rank=2)
    path = authors_file(tmp_path / "a.pth", model)
    text = information(path)
    total = sum(p.numel() for p in model.parameters())
    left = sum(p.numel() for n, p in model.named_parameters() if "lora" in n or "cls_head" in n)
    for part in (
        "the authors' names",
        "epoch: 3",
        "width 8, blocks 2 1, heads 2 4",
        "window 2 3 3",
        "low-rank branches: qv of all stages, rank 2, alpha 2",
        "head: 3 classes",
        f"parameters: {total:,} (",
        f"with a frozen backbone {left:,} are trained",
        "note: ",
    ):
        assert part in text
    config = tmp_path / "c.py"
    config.write_text(
        "model = dict(type='UASRecognizer3D', backbone=dict(type='UASSwinTransformer3D', "
        "arch='tiny'), cls_head=dict(type='I3DHead', num_classes=400, in_channels=768))"
    )
    text = information(config)
    assert "Video Swin, tiny" in text
    assert "parameters: 28,158,070 (" in text
    config.write_text("data = 1")
    with pytest.raises(UserError, match="no 'model'"):
        information(config)
