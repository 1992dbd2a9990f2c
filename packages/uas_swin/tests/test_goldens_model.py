"""Backbone, training steps, learning rates and names of weights, number by number."""

from __future__ import annotations

import json
import os
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from uas_swin.author_options import recognizer_options
from uas_swin.checkpoints import build_recognizer, load_weights, read_checkpoint
from uas_swin.layout import to_authors, to_ours
from uas_swin.model.freeze import count_parameters, freeze_backbone
from uas_swin.optim import GroupedOptimWrapperConstructor
from uas_swin.schedule import EpochCosineLR

ROOT = Path(__file__).resolve().parents[3]
GOLDENS = Path(os.environ.get("BEHAVIORZOO_GOLDENS", ROOT.parent / "shared" / "goldens"))


def read_case(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "case.json").read_text())


def cases(kind: str) -> list[Any]:
    folders = sorted(GOLDENS.glob("uas_*")) if GOLDENS.is_dir() else []
    found = [folder for folder in folders if read_case(folder)["kind"] == kind]
    absent = pytest.mark.skip(reason="no folder 'goldens': set $BEHAVIORZOO_GOLDENS")
    return [pytest.param(f, id=f.name) for f in found] or [pytest.param(None, marks=absent)]


def close(name: str, found: Any, expected: np.ndarray, rtol: float, atol: float = 0.0) -> None:
    value = found.detach().numpy() if isinstance(found, torch.Tensor) else np.asarray(found)
    assert value.shape == expected.shape, name
    np.testing.assert_allclose(value, expected, rtol=rtol, atol=atol, err_msg=name)


def loaded(case: dict[str, Any], folder: Path) -> Any:
    """The authors' network with the weights of the case; every weight comes from the file."""
    model = build_recognizer(recognizer_options(case["config"], compat="upstream"))
    assert load_weights(model, folder / "checkpoint.pth") == []
    return model.eval()


def samples(labels: torch.Tensor) -> list[Any]:
    from uas_swin.mmlab import ActionDataSample

    return [ActionDataSample().set_gt_labels(label.reshape(-1)) for label in labels]


def maps(model: Any, imgs: torch.Tensor) -> dict[str, torch.Tensor]:
    """What comes out of the parts of a backbone, in the layouts of the cases."""
    found: dict[str, torch.Tensor] = {}

    def keep(name: str, last: bool = True) -> Any:
        def hook(_: Any, __: Any, out: torch.Tensor) -> None:
            found[name] = out.movedim(-1, 1) if not last else out

        return hook

    backbone = model.backbone
    handles = [backbone.patch_embed.register_forward_hook(keep("patch_embed"))]
    for place, block in enumerate(backbone.layers[0].blocks):
        handles.append(block.register_forward_hook(keep(f"stage0_block{place}")))
    for stage, layer in enumerate(backbone.layers):
        end = layer if layer.downsample is None else layer.downsample
        handles.append(end.register_forward_hook(keep(f"stage{stage}", last=False)))
    found["feat"] = backbone(imgs)
    for handle in handles:
        handle.remove()
    return found


def outputs(model: Any, inputs: Any, dtype: torch.dtype) -> dict[str, Any]:
    """Everything that a case of the backbone may tell."""
    imgs = torch.from_numpy(inputs["imgs"]).to(dtype)
    labels = torch.from_numpy(inputs["labels"])
    found: dict[str, Any] = maps(model, imgs)
    found["pooled"] = found["feat"].mean((2, 3, 4))
    found["logits"] = model.cls_head(found["feat"])
    found |= model(imgs[:, None], samples(labels), mode="loss")
    if "views" in inputs:
        found |= of_views(model, torch.from_numpy(inputs["views"]).to(dtype))
    return found


def of_views(model: Any, views: torch.Tensor) -> dict[str, torch.Tensor]:
    """Scores and features of videos with several views."""

    def scores(average: str | None, **test_cfg: Any) -> torch.Tensor:
        model.cls_head.average_clips, model.test_cfg = average, test_cfg
        predicted = model(views, samples(torch.zeros(len(views))), mode="predict")
        if test_cfg.get("feature_extraction"):
            return torch.stack([sample.pooled_features.item for sample in predicted])
        return torch.stack([sample.pred_scores.item for sample in predicted])

    return {
        "views_prob": scores("prob"),
        "views_score": scores("score"),
        "views_None": scores(None).flatten(0, 1),
        "views_prob_max2": scores("prob", max_testing_views=2),
        "views_feature_extraction": scores(None, feature_extraction=True),
    }


@pytest.mark.parametrize("folder", cases("uas_backbone"))
def test_backbone(folder):
    case = read_case(folder)
    inputs, expected = np.load(folder / "inputs.npz"), np.load(folder / "expected.npz")
    declared = {n.split("/")[1] for n in case["arrays"] if n.startswith("expected/")}
    assert declared == set(expected.files)
    rules = case["tolerances"]
    model = loaded(case, folder)

    with torch.no_grad():
        single = outputs(model, inputs, torch.float32)
    for name in expected.files:
        kind = "float32_features" if expected[name].dtype == np.float32 else "float32_logits"
        close(name, single[name], expected[name], **rules[kind])

    found = outputs(model.double(), inputs, torch.float64)
    for name in expected.files:
        if expected[name].dtype == np.float32:
            close(name, found[name], expected[name], rtol=1e-5, atol=1e-6)  # as it is stored
        else:
            close(name, found[name], expected[name], **rules["float64_logits"])

    found["loss_cls"].backward()
    grads = {name: p.grad for name, p in model.named_parameters()}
    norms = {name: grad.norm().item() for name, grad in grads.items() if grad is not None}
    norms = to_authors(norms)
    assert set(norms) == set(case["grad_norms"])
    for name, norm in case["grad_norms"].items():
        assert norms[name] == pytest.approx(norm, rel=rules["grad_norms"]["rtol"]), name

    trained = to_authors(dict.fromkeys(freeze_backbone(model)))
    assert set(trained) == set(case["trainable_names_when_freeze_backbone"])
    assert count_parameters(model) == (case["n_params"], case["n_trainable_when_frozen"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("folder", cases("uas_train"))
def test_training(folder, dtype):
    case = read_case(folder)
    inputs, expected = np.load(folder / "inputs.npz"), np.load(folder / "expected.npz")
    model = loaded(case, folder).to(dtype)
    if case["freeze_backbone"]:
        trained = to_authors(dict.fromkeys(freeze_backbone(model)))
        assert set(trained) == set(case["trainable_names"])
    settings = {k: v for k, v in case["optimizer"].items() if k != "paramwise_cfg"}
    wrapper = GroupedOptimWrapperConstructor(
        {
            "type": "CarriedOptimWrapper",
            "optimizer": settings,
            "accumulative_counts": case["update_interval"],
        },
        case["optimizer"].get("paramwise_cfg"),
    )(model)
    names = {p: n for n, p in model.named_parameters()}
    groups = {
        names[p]: {key: group[key] for key in ("lr", "weight_decay")}
        for group in wrapper.optimizer.param_groups
        for p in group["params"]
    }
    rules = to_ours(case["param_groups"])
    assert groups == {name: pytest.approx(rules[name], rel=1e-12) for name in groups}
    assert set(groups) == {n for n, p in model.named_parameters() if p.requires_grad}

    model.train()
    multipliers = [group["lr"] / settings["lr"] for group in wrapper.optimizer.param_groups]
    images, labels = torch.from_numpy(inputs["imgs"]).to(dtype), torch.from_numpy(inputs["labels"])
    losses, norms = [], []
    wrapper.initialize_count_status(model, 0, len(images))
    step = wrapper.step

    def global_norm() -> float:
        grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        return torch.cat(grads).norm().item()

    def step_after_looking() -> None:
        norms.append(global_norm())
        step()

    wrapper.step = step_after_looking
    for rate, batch, truth in zip(case["lr_per_iteration"], images, labels, strict=True):
        for group, multiplier in zip(wrapper.optimizer.param_groups, multipliers, strict=True):
            group["lr"] = rate * multiplier
        before = len(norms)
        loss = model(batch, samples(truth), mode="loss")["loss_cls"]
        wrapper.update_params(loss)
        losses.append(loss.item())
        if len(norms) == before:
            norms.append(global_norm())

    double = dtype is torch.float64
    rtol = case["tolerances"]["float64"]["rtol"]
    loose = case["tolerances"]["float32"]
    found = {"losses": losses, "grad_norm_accumulated": norms}
    for name, values in found.items():
        close(name, values, expected[name], rtol if double else loose["losses_rtol"])
    state = to_authors(model.state_dict())
    for name in set(expected.files) - set(found):
        value = state[name.removeprefix("after/")]
        if double:
            # Adam's first steps are signs: entries without a gradient have few digits.
            close(name, value, expected[name], rtol, atol=rtol)
        else:
            close(name, value, expected[name], 0.0, loose["params_atol"])
    after = {n: p.norm().item() for n, p in to_authors(dict(model.named_parameters())).items()}
    assert set(after) == set(case["param_norms_after"])
    for name, norm in case["param_norms_after"].items():
        assert after[name] == pytest.approx(norm, rel=rtol if double else 1e-4), name


@pytest.mark.parametrize("folder", cases("uas_lr_schedule"))
def test_learning_rates(folder):
    case, expected = read_case(folder), np.load(folder / "expected.npz")
    found = {}
    for course in case["cases"]:
        n = course["iters_per_epoch"]
        head, backbone = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))
        base = course["base_lr"]
        optimizer = torch.optim.SGD(
            [{"params": [head], "lr": base}, {"params": [backbone], "lr": 0.1 * base}], lr=base
        )
        options = {k: course[k] for k in ("warmup_epochs", "warmup_ratio", "min_lr") if k in course}
        scheduler = EpochCosineLR.build_iter_from_epoch(
            optimizer, epoch_length=n, end=course["epochs"], **options
        )
        rates = []
        for _ in range(n * course["epochs"]):
            rates.append([group["lr"] for group in optimizer.param_groups])
            optimizer.step()
            scheduler.step()
        of_head, of_backbone = np.array(rates).T
        found |= {f"head_{course['index']}": of_head, f"backbone_{course['index']}": of_backbone}
    assert set(found) == set(expected.files)
    for name in expected.files:
        close(name, found[name], expected[name], case["tolerances"]["rtol"])


@pytest.mark.parametrize("folder", cases("uas_state_dict_layout"))
def test_names_of_weights(folder):
    models = read_case(folder)["models"]
    listed = [told for told in models.values() if told.get("entries")]
    for name, told in models.items():
        options = recognizer_options(told["config"], compat="upstream")
        with no_draws():
            model = build_recognizer(options)
        found = {
            n: [list(t.shape), str(t.dtype).removeprefix("torch.")]
            for n, t in to_authors(model.state_dict()).items()
        }
        added = {n: shape for n, shape in found.items() if "lora_" in n}
        assert added == told.get("entries_added_by_lora", {}), name
        if told.get("entries"):
            assert found == told["entries"], name
        else:  # a network that is listed, with another head
            classes = told["config"]["cls_head"]["num_classes"]
            expected = next((o["entries"] for o in listed if plain(o) == plain(told)), None)
            if expected is not None:
                expected = deepcopy(expected)
                for part in ("weight", "bias"):
                    expected[f"cls_head.fc_cls.{part}"][0][0] = classes
                assert {n: e for n, e in found.items() if n not in added} == expected, name
        total, _ = count_parameters(model)
        freeze_backbone(model)
        assert (total, count_parameters(model)[1]) == (told["n_params"], told["n_trainable_frozen"])


def plain(told: dict[str, Any]) -> dict[str, Any]:
    """The backbone of a case without what makes its branches."""
    backbone = told["config"]["backbone"]
    return {key: value for key, value in backbone.items() if "lora" not in key}


class no_draws:  # noqa: N801
    """Skip drawing weights: the large networks are only looked at."""

    def __enter__(self) -> None:
        self.saved = torch.nn.Linear.reset_parameters
        torch.nn.Linear.reset_parameters = lambda self: None  # type: ignore[method-assign]

    def __exit__(self, *_: Any) -> None:
        torch.nn.Linear.reset_parameters = self.saved  # type: ignore[method-assign]


def test_files_of_all_cases_tell_their_network():
    """Without a configuration, the shapes of the weights give the network of the case."""
    folders = [p for kind in ("uas_backbone", "uas_train") for p in cases(kind)]
    folders = [p.values[0] for p in folders if p.values[0] is not None]
    if not folders:
        pytest.skip("no folder 'goldens': set $BEHAVIORZOO_GOLDENS")
    for folder in folders:
        config = deepcopy(read_case(folder)["config"])
        expected = recognizer_options(config)["backbone"]
        checkpoint = read_checkpoint(folder / "checkpoint.pth")
        found = checkpoint.model["backbone"]
        assert checkpoint.layout == "authors"
        for key in ("arch", "in_channels", "mlp_ratio", "qkv_bias", "patch_norm"):
            assert found[key] == expected[key], (folder.name, key)
        for key in ("patch_size", "window_size"):
            assert tuple(found[key]) == tuple(expected[key]), (folder.name, key)
        assert checkpoint.n_classes == config["cls_head"]["num_classes"]
        if expected["use_lora"] and expected["lora_rank"]:
            for key in ("use_lora", "lora_rank", "lora_layer_type"):
                assert found[key] == expected[key], (folder.name, key)
