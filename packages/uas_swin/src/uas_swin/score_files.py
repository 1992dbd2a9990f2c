"""Scores of every video in a file, as ``--out`` of the original writes them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path

SUFFIXES = (".pkl", ".pickle", ".json", ".yaml", ".yml")


@METRICS.register_module()
class UasScores(BaseMetric):
    """Keeps the scores of all videos in the order of the list, and writes them.

    Args:
        out: File; a list with the scores (classes) of each video.
        collect_device: See mmengine.
    """

    def __init__(self, out: str, collect_device: str = "cpu") -> None:
        super().__init__(collect_device=collect_device, prefix="scores")
        check_score_file(out)
        self.out = out

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep the scores of a batch."""
        for sample in data_samples:
            self.results.append(np.asarray(sample["pred_scores"]["item"].cpu(), dtype=np.float32))

    def compute_metrics(self, results: list[np.ndarray]) -> dict[str, float]:
        """Write the file."""
        write_scores(results, self.out)
        return {"videos": float(len(results))}


def check_score_file(path: str | Path) -> None:
    """Refuse a file name whose format is not known.

    Raises:
        UserError: With the formats that are.
    """
    if Path(path).suffix not in SUFFIXES:
        raise UserError(f"--out {path}: scores are written as {', '.join(SUFFIXES)}")


def write_scores(scores: Sequence[np.ndarray], path: str | Path) -> None:
    """Write scores, one array per video.

    Raises:
        UserError: Unknown suffix, or the file cannot be written.
    """
    path = Path(path)
    check_score_file(path)
    with atomic_path(path) as temporary:
        if path.suffix in (".pkl", ".pickle"):
            temporary.write_bytes(pickle.dumps(list(scores)))
            return
        plain = [score.tolist() for score in scores]
        if path.suffix == ".json":
            text = json.dumps(plain)
        else:
            import yaml

            text = yaml.safe_dump(plain, default_flow_style=None)
        temporary.write_text(text + "\n", encoding="utf-8")
