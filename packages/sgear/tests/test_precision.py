"""The network under autocast: results near single precision, finite losses and gradients."""

from __future__ import annotations

import pytest
import torch

from sgear.losses import AnticipationLoss
from sgear.model import BackboneConfig, FuturePredictorConfig, ModelConfig, SGear
from sgear.step import run_step

N = 70
TCD = FuturePredictorConfig(
    "tcd", inter_dim=16, n_head=2, n_layer=1, return_past_too=True, avg_last_n=1,
    future_pred_loss="mse",
)  # fmt: skip
SIZES = {"img_size": 16, "patch_size": 8, "embed_dim": 64, "depth": 1, "num_heads": 1}
WEIGHTS = {
    "cls_action": 1,
    "past_cls_action": 1,
    "feat": 1,
    "target_distance": 1,
    "global_simContrast": 4,
    "past_target_global_simContrast": 1,
}


def network(video: bool) -> SGear:
    torch.manual_seed(0)
    config = ModelConfig(
        backbone=BackboneConfig("vit", overrides=SIZES) if video else BackboneConfig(),
        backbone_dim=64,
        backbone_last_n_modules_to_drop=0,
        backbone_add_ts_blocks=2 if video else 0,
        tmp_frames=3,
        extracted_features=not video,
        prot_attn=True,
        future_predictor=TCD,
        classifier_on_past=True,
    )
    return SGear(config, {"action": N}, torch.randn(N, 64))


@pytest.mark.parametrize("fused_from", [2, 400], ids=["fused", "plain"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("video", [True, False], ids=["frames", "features"])
def test_a_step_under_autocast(video, dtype, fused_from, monkeypatch):
    from sgear.model import lower_triangular

    monkeypatch.setattr(lower_triangular, "FUSED_FROM", fused_from)
    model = network(video).eval()
    shape = (2, 3, 3, 1, 16, 16) if video else (2, 3, 64, 1, 1, 1)
    batch = {
        "video": torch.randn(shape),
        "target": {"action": torch.tensor([3, 60])},
        "past_target": {"action": torch.randint(-1, N, (2, 3, 1))},
    }
    names = torch.rand(N, N)
    single = run_step(model, AnticipationLoss(names), batch, WEIGHTS)
    with torch.autocast("cpu", dtype=dtype):
        step = run_step(model, AnticipationLoss(names), batch, WEIGHTS)
    assert step.outputs["similarities"].dtype == torch.float32
    torch.testing.assert_close(step.loss.float(), single.loss, rtol=0.02, atol=0.0)
    step.loss.backward()
    for name, parameter in model.named_parameters():
        if not name.endswith("attn.alpha"):
            assert torch.isfinite(parameter.grad).all(), name
