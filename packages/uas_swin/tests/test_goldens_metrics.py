"""The metrics against what the authors' code computes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from uas_swin.metrics import (
    confusion_matrix,
    evaluate,
    mean_average_precision,
    mean_class_accuracy,
    micro_macro_accuracy,
    micro_top_k_accuracy,
    mmit_mean_average_precision,
    precision_recall_curve,
    top_k_accuracy,
)


def cases(goldens_dir):
    for folder in sorted(goldens_dir.glob("uas_*")):
        case = json.loads((folder / "case.json").read_text())
        if case["kind"] == "uas_metrics":
            yield folder, case


def one_hot(labels, n_classes):
    return np.eye(n_classes, dtype=np.float32)[labels]


def computed(scores, labels, multilabel) -> dict:
    """Everything that a case may declare."""
    single = one_hot(labels, scores.shape[1])
    confusion = confusion_matrix(scores.argmax(1), labels)
    micro, macro = micro_macro_accuracy(scores, labels)
    some = multilabel.any(axis=1)
    return {
        "mean_class_accuracy": mean_class_accuracy(scores, labels),
        "confusion_matrix": confusion.counts,
        "confusion_label_set": confusion.labels,
        "micro_accuracy": micro,
        "macro_accuracy": macro,
        "mAP_from_single_labels": mean_average_precision(scores, single),
        "mmit_mAP_from_single_labels": mmit_mean_average_precision(scores, single),
        "mAP_multilabel": mean_average_precision(scores, multilabel),
        "mmit_mAP_multilabel": mmit_mean_average_precision(scores[some], multilabel[some]),
        "mmit_mAP_multilabel_all_rows": mmit_mean_average_precision(scores, multilabel),
        "micro_top1_multilabel": micro_top_k_accuracy(scores, multilabel),
    }


def test_metrics_are_those_of_the_authors(goldens_dir):
    seen = 0
    for folder, case in cases(goldens_dir):
        seen += 1
        arrays = np.load(folder / "inputs.npz")
        scores, labels = arrays["scores"], arrays["labels"]
        expected, atol = dict(case["expected"]), case["tolerances"]["atol"]
        for k, value in expected.pop("top_k").items():
            assert top_k_accuracy(scores, labels, int(k)) == pytest.approx(value, abs=atol), k
        ours = computed(scores, labels, arrays["multilabel"])
        for name, value in expected.items():
            if name.endswith("_note"):
                continue
            value = float(value) if isinstance(value, str) else value
            np.testing.assert_allclose(
                ours[name], value, rtol=0, atol=atol, err_msg=f"{folder.name}: {name}"
            )
        curve_of_class_0(folder, scores, labels, atol)
    assert seen, f"no case of kind uas_metrics under {goldens_dir}"


def curve_of_class_0(folder, scores, labels, atol):
    """From one-hot labels; the case holds empty arrays where class 0 never occurs."""
    expected = np.load(folder / "expected.npz")
    curve = precision_recall_curve(scores[:, 0], labels == 0)
    assert set(expected.files) == {"precision", "recall", "thresholds"}
    for name in expected.files:
        if expected[name].size or (labels == 0).any():
            np.testing.assert_allclose(
                getattr(curve, name), expected[name], rtol=0, atol=atol, err_msg=folder.name
            )


def test_the_evaluation_as_a_whole_gives_the_same_numbers(goldens_dir):
    for folder, case in cases(goldens_dir):
        arrays = np.load(folder / "inputs.npz")
        scores, expected = arrays["scores"], case["expected"]
        metrics = ("top_k_accuracy", "mean_class_accuracy", "micro_macro_accuracy")
        topk = [int(k) for k in expected["top_k"]]
        single = evaluate(scores, arrays["labels"], metrics, topk=topk).scores
        many = ("mean_average_precision", "micro_top_k_accuracy")
        several = evaluate(scores, arrays["multilabel"], many, num_classes=scores.shape[1]).scores
        wanted = {f"top{k}": value for k, value in expected["top_k"].items()}
        wanted |= {"mean1": expected["mean_class_accuracy"], "micro": expected["micro_accuracy"]}
        wanted |= {"macro": expected["macro_accuracy"]}
        assert single == pytest.approx(wanted, abs=case["tolerances"]["atol"])
        wanted = {"mean_average_precision": expected["mAP_multilabel"]}
        wanted |= {"micro_top1": expected["micro_top1_multilabel"]}
        assert several == pytest.approx(wanted, abs=case["tolerances"]["atol"])
