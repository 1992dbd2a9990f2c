"""Attention, branches, blocks and freezing against slow and obvious versions."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from behaviorzoo.errors import UserError
from uas_swin.checkpoints import build_recognizer
from uas_swin.mmlab import ActionDataSample
from uas_swin.model.attention import FusedWindowAttention
from uas_swin.model.backbone import UASSwinTransformer3D
from uas_swin.model.freeze import count_parameters, freeze_backbone
from uas_swin.model.kernels import window_attention
from uas_swin.model.lora import LAYER_TYPES, LoRA, LoraOptions

ARCH = {"embed_dims": 8, "depths": [2, 1], "num_heads": [2, 4]}
WINDOW = (2, 3, 3)


def small(**options: Any) -> UASSwinTransformer3D:
    """Every weight, also tables and norms, is drawn."""
    generator = torch.Generator().manual_seed(0)
    backbone = UASSwinTransformer3D(arch=ARCH, window_size=WINDOW, drop_path_rate=0.0, **options)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return backbone


def recognizer(**options: Any) -> Any:
    torch.manual_seed(0)
    backbone = {"type": "UASSwinTransformer3D", "arch": ARCH, "window_size": WINDOW, **options}
    head = {"type": "I3DHead", "num_classes": 3, "in_channels": 16, "dropout_ratio": 0.0}
    return build_recognizer({"backbone": backbone, "cls_head": head})


def slow_attention(a: FusedWindowAttention, x: Tensor, regions: Tensor | None) -> Tensor:
    """Window by window, head by head, pair by pair."""
    rows, N, C = x.shape
    width = C // a.num_heads
    out = torch.zeros_like(x)
    for row in range(rows):
        parts = []
        for place, name in enumerate("qkv"):
            weight, bias = a.qkv.weight.view(3, C, C)[place], a.qkv.bias.view(3, C)[place]
            part = x[row] @ weight.T + bias
            lora = getattr(a, f"lora_{name}", None)
            if lora is not None:
                scaling = lora.scaling
                part = part + scaling * x[row] @ lora.lora_A.weight.T @ lora.lora_B.weight.T
            parts.append(part)
        joined = []
        for head in range(a.num_heads):
            q, k, v = (p[:, head * width : (head + 1) * width] for p in parts)
            logits = a.scale * q @ k.T
            for i in range(N):
                for j in range(N):
                    offset = a.relative_position_index[i, j]
                    logits[i, j] += a.relative_position_bias_table[offset, head]
                    if regions is not None:
                        logits[i, j] += regions[row % len(regions), i, j]
            joined.append(logits.softmax(-1) @ v)
        z = a.proj(torch.cat(joined, dim=-1))
        lora = getattr(a, "lora_o", None)
        # The branch acts on the projection's OUTPUT.
        out[row] = z if lora is None else z + lora.scaling * lora.lora_B(lora.lora_A(z))
    return out


def inputs(clips: int, windows: int, n_tokens: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(clips * windows, n_tokens, 8, generator=generator, dtype=torch.float64)
    regions = torch.rand(windows, n_tokens, n_tokens, generator=generator) < 0.4
    return x, torch.where(regions, -100.0, 0.0)


@pytest.mark.parametrize("layers", [None, *LAYER_TYPES])
@pytest.mark.parametrize("shifted", [False, True], ids=["plain", "shifted"])
@pytest.mark.parametrize(("clips", "windows"), [(1, 1), (1, 3), (2, 3), (3, 1)])
def test_attention_is_the_slow_one(layers, shifted, clips, windows):
    options = {"use_lora": True, "lora_rank": 2, "lora_alpha": 5} if layers else {}
    backbone = small(**options, **({"lora_layer_type": layers} if layers else {}))
    attention = backbone.double().layers[0].blocks[1].attn
    for n_tokens in (18, 9):  # a whole window, and one that shrank
        x, regions = inputs(clips, windows, n_tokens)
        mask = regions if shifted else None
        with torch.no_grad():
            expected = slow_attention(attention, x, mask)
        torch.testing.assert_close(attention(x, mask), expected, rtol=1e-10, atol=1e-10)
        with torch.no_grad():  # the way of evaluation, with a mask that is kept
            torch.testing.assert_close(attention(x, mask), expected, rtol=1e-10, atol=1e-10)


@settings(max_examples=25, deadline=None)
@given(
    clips=st.integers(1, 3),
    windows=st.integers(1, 3),
    heads=st.integers(1, 3),
    n_tokens=st.integers(1, 7),
    width=st.integers(1, 4),
    shared=st.booleans(),
    room=st.sampled_from([1, 30, 1 << 20]),
)
def test_kernel_gives_all_gradients(clips, windows, heads, n_tokens, width, shared, room):
    """With a trained mask, cut into parts of any size, against softmax written out."""
    generator = torch.Generator().manual_seed(clips * 100 + windows)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    shape = (clips * windows, heads, n_tokens, width)
    q, k, v = drawn(*shape), drawn(*shape), drawn(*shape)
    mask = drawn(1 if shared else windows, heads, n_tokens, n_tokens)
    whole = mask.repeat(len(q) // len(mask), 1, 1, 1)
    expected = (0.7 * q @ k.transpose(-2, -1) + whole).softmax(-1) @ v
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("uas_swin.model.kernels.CACHED", room)
        found = window_attention(q, k, v, mask, 0.7)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
        weight = torch.randn(shape, generator=generator, dtype=torch.float64)
        grads = torch.autograd.grad((found * weight).sum(), (q, k, v, mask))
    wanted = torch.autograd.grad((expected * weight).sum(), (q, k, v, mask))
    for a, b in zip(grads, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_dropout_of_weights_works_with_a_trained_table():
    backbone = small(attn_drop_rate=0.5).train()
    x = torch.randn(1, 3, 4, 24, 24)
    backbone(x).square().sum().backward()
    assert backbone.layers[0].blocks[0].attn.relative_position_bias_table.grad.abs().sum() > 0
    assert not torch.equal(backbone(x), backbone(x))
    torch.testing.assert_close(backbone.eval()(x), small().eval()(x))


@pytest.mark.parametrize("frozen", [True, False], ids=["constant", "trained"])
def test_lower_precision(frozen):
    """Table, mask and maps in the precision of the products; gradients in that of the weights."""
    backbone = small(use_lora=True, lora_rank=2)
    if frozen:
        for name, parameter in backbone.named_parameters():
            parameter.requires_grad = "lora" in name
    x = torch.randn(2, 3, 4, 24, 24)
    with torch.no_grad():
        expected = backbone(x)
    with torch.autocast("cpu", torch.bfloat16):
        found = backbone(x)
        found.float().square().mean().backward()
    assert (found.float() - expected).abs().mean() < 0.1 * expected.abs().mean()
    grads = [p.grad for p in backbone.parameters() if p.requires_grad]
    assert all(g is not None and g.dtype == torch.float32 for g in grads)


def test_mask_is_kept_and_made_anew_when_the_table_changes():
    attention = small().double().eval().layers[0].blocks[1].attn
    x, regions = inputs(1, 3, 18)
    with torch.no_grad():
        first = attention.additive_mask(18, regions, x.dtype)
        assert attention.additive_mask(18, regions, x.dtype) is first
        other = regions.clone()
        assert attention.additive_mask(18, other, x.dtype) is not first
        attention.relative_position_bias_table.mul_(2)
        doubled = attention(x, other)
        torch.testing.assert_close(doubled, slow_attention(attention, x, other))
    attention.float()
    with torch.no_grad():
        assert attention(x.float(), other).dtype == torch.float32
    copy = deepcopy(attention)
    assert copy._remembered.mask is None
    assert attention._remembered.mask is not None
    with torch.enable_grad():
        attention(x.float(), other)
    assert attention._remembered.mask is None, "a table in training is gathered in every call"


def test_nothing_is_kept_when_asked():
    backbone = small(remember_mask=False).eval()
    with torch.no_grad():
        backbone(torch.randn(1, 3, 4, 24, 24))
    kept = [b.attn._remembered.mask for layer in backbone.layers for b in layer.blocks]
    assert kept == [None] * 3


def test_training_goes_on_after_inference_mode():
    """A mask that was made in inference mode must not be used where gradients are needed."""
    model = recognizer(use_lora=True, lora_rank=2)
    freeze_backbone(model)
    x = torch.randn(1, 3, 4, 48, 48)
    with torch.inference_mode():
        model.eval().backbone(x)
    model.eval().backbone(x).sum().backward()
    assert any(p.grad is not None for p in model.backbone.parameters())


@pytest.mark.parametrize("size", [(4, 24, 24), (3, 50, 30), (2, 8, 8)])
def test_features_are_those_of_mmaction2(size):
    """Also with maps that are padded, and windows that shrink to the map."""
    from uas_swin.mmlab import SwinTransformer3D

    ours = small().eval()
    theirs = SwinTransformer3D(
        arch=ARCH, window_size=WINDOW, pretrained2d=False, drop_path_rate=0.0, out_indices=(1,)
    )
    theirs.eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
    ours(x).square().mean().backward()
    theirs(x).square().mean().backward()
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("layers", list(LAYER_TYPES))
def test_branches_of_every_kind(layers):
    backbone = small(use_lora=True, lora_rank=2, lora_layer_type=layers)
    names = {n.split("lora_")[1].split(".")[0] for n in backbone.state_dict() if "lora_" in n}
    assert names == set(LAYER_TYPES[layers])
    mlp = backbone.layers[0].blocks[0].mlp
    x = torch.randn(5, 8)
    h = mlp.fc1(x)
    if "fc1" in names:
        h = h + mlp.lora_fc1.lora_B(mlp.lora_fc1.lora_A(x))
    h = nn.functional.gelu(h)
    expected = mlp.fc2(h)
    if "fc2" in names:
        expected = expected + mlp.lora_fc2.lora_B(mlp.lora_fc2.lora_A(h))
    torch.testing.assert_close(mlp(x), expected)


def test_branches_of_stages():
    for stages, expected in (("all", {0, 1}), ("first", {0}), ("last", {1})):
        backbone = small(use_lora=True, lora_rank=1, lora_type=stages)
        found = {int(n.split(".")[1]) for n in backbone.state_dict() if "lora_" in n}
        assert found == expected


def test_scaling():
    options = LoraOptions(rank=4)
    assert LoRA(3, 5, options).scaling == 1.0
    lora = LoRA(3, 5, LoraOptions(rank=4, alpha=8))
    nn.init.normal_(lora.lora_B.weight)
    x = torch.randn(2, 3)
    torch.testing.assert_close(lora(x), 2 * x @ lora.lora_A.weight.T @ lora.lora_B.weight.T)
    torch.testing.assert_close(lora(x).double(), x.double() @ lora.update().T, rtol=1e-5, atol=1e-6)


def test_both_initialisations():
    x = torch.randn(1, 3, 4, 24, 24)
    plain = recognizer()
    plain.init_weights()
    for init, same in (("zero_b", True), ("upstream", False)):
        model = recognizer(use_lora=True, lora_rank=4, lora_init=init)
        model.init_weights()
        lora = model.backbone.layers[0].blocks[0].attn.lora_q
        assert 0.01 < lora.lora_A.weight.std() < 0.03
        assert (lora.lora_B.weight.abs().max() == 0) == same
        weights = {**model.state_dict(), **plain.state_dict()}
        model.load_state_dict(weights)
        with torch.no_grad():
            assert torch.equal(model.eval().backbone(x), plain.eval().backbone(x)) == same


def test_rank_zero():
    with pytest.raises(UserError, match="lora_rank=0 makes no branch"):
        small(use_lora=True)
    silent = small(use_lora=True, compat="upstream")
    assert not any("lora" in name for name in silent.state_dict())
    assert not any("lora" in name for name in small(lora_rank=4).state_dict())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arch": "bse"}, "arch: unknown 'bse'; did you mean 'base'"),
        ({"arch": {"depths": [1]}}, "arch: the keys are embed_dims, depths, num_heads"),
        ({"arch": {**ARCH, "num_heads": [3, 4]}}, "3 heads do not divide the width 8 of stage 0"),
        ({"arch": {**ARCH, "num_heads": [2]}}, "2 depths and 1 numbers of heads"),
        ({"use_lora": True, "lora_rank": 1, "lora_type": "lst"}, "did you mean 'last'"),
        ({"use_lora": True, "lora_rank": 1, "lora_layer_type": "qo"}, "lora_layer_type: unknown"),
        ({"use_lora": True, "lora_rank": 1, "lora_init": "zero"}, "did you mean 'zero_b'"),
        ({"window_size": (2, 7)}, "window_size: .* expected"),
        ({"compat": "upstraem"}, "did you mean 'upstream'"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(UserError, match=message):
        UASSwinTransformer3D(**{"arch": ARCH, **options})


def gradients(model: Any, x: Tensor) -> dict[str, Tensor]:
    sample = ActionDataSample().set_gt_labels(torch.tensor([1]))
    model.zero_grad()
    model(x, [sample] * len(x), mode="loss")["loss_cls"].backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def test_checkpointing_trains_branches_of_a_frozen_backbone():
    x = torch.randn(2, 1, 3, 4, 24, 24)
    found = {}
    for with_cp in (False, True):
        model = recognizer(use_lora=True, lora_rank=2, lora_init="upstream", with_cp=with_cp)
        freeze_backbone(model)
        model.backbone.eval()  # no stochastic depth
        found[with_cp] = gradients(model, x)
    assert any("lora" in name for name in found[True])
    assert found[True].keys() == found[False].keys()
    for name, grad in found[True].items():
        assert grad.abs().sum() > 0
        torch.testing.assert_close(grad, found[False][name], rtol=1e-4, atol=1e-6)


def test_freezing():
    model = recognizer(use_lora=True, lora_rank=2, lora_layer_type="all", lora_type="last")
    total, _ = count_parameters(model)
    trained = freeze_backbone(model)
    assert trained == [n for n, p in model.named_parameters() if p.requires_grad]
    assert all(n.startswith("cls_head.") or ".lora_" in n for n in trained)
    assert sum("lora_" in n for n in trained) == 12
    assert count_parameters(model) == (
        total,
        sum(dict(model.named_parameters())[n].numel() for n in trained),
    )
    assert model.train().backbone.layers[0].blocks[0].training, "stochastic depth goes on"


def test_recognizer_freezes_itself():
    config = {
        "backbone": {"type": "UASSwinTransformer3D", "arch": ARCH, "window_size": WINDOW},
        "cls_head": {"type": "I3DHead", "num_classes": 3, "in_channels": 16},
        "freeze_backbone": True,
    }
    model = build_recognizer(config)
    assert [n for n, p in model.named_parameters() if p.requires_grad] == [
        "cls_head.fc_cls.weight",
        "cls_head.fc_cls.bias",
    ]


def test_frozen_stages():
    backbone = small(frozen_stages=1, use_lora=True, lora_rank=1).train()
    assert isinstance(backbone.train(), UASSwinTransformer3D)
    assert not backbone.layers[0].training
    assert not any(p.requires_grad for p in backbone.layers[0].parameters())
    assert all(p.requires_grad for p in backbone.layers[1].parameters())


def test_features_of_views():
    model = recognizer().eval()
    views = torch.randn(2, 3, 3, 4, 24, 24)
    samples = [ActionDataSample() for _ in views]
    with torch.no_grad():
        all_at_once = model.features(views)
        assert all_at_once.shape == (2, 3, 16)
        one = model.backbone(views[1, 2][None]).mean((2, 3, 4))[0]
        torch.testing.assert_close(all_at_once[1, 2], one, rtol=1e-4, atol=1e-5)
        model.test_cfg = {"max_testing_views": 2, "feature_extraction": True}
        torch.testing.assert_close(model.features(views), all_at_once, rtol=1e-4, atol=1e-5)
        found = model(views, samples, mode="predict")
    assert found is samples
    for sample, expected in zip(found, all_at_once.mean(1), strict=True):
        torch.testing.assert_close(sample.pooled_features.item, expected, rtol=1e-4, atol=1e-5)


def test_average_of_clips_from_test_cfg():
    base = {
        "backbone": {"type": "UASSwinTransformer3D", "arch": ARCH, "window_size": WINDOW},
        "cls_head": {"type": "I3DHead", "num_classes": 3, "in_channels": 16},
    }
    model = build_recognizer({**base, "test_cfg": {"average_clips": "prob"}})
    assert model.cls_head.average_clips == "prob"
    head = {**base["cls_head"], "average_clips": "score"}
    model = build_recognizer({**base, "cls_head": head, "test_cfg": {"average_clips": "prob"}})
    assert model.cls_head.average_clips == "score"
