"""Speed and memory of the hierarchical evaluator against the original and against scikit-learn.

    python benchmarks/hieras_eval.py [--quick] [--folder DIR]

Synthetic values at the real size of Shot7M2: 2,720 episodes x 1,800 frames, 64 features, 30
tasks, 3 seeds, 5 penalties; 2.5 GB in a temporary folder. Ours is timed in a process of its own
with one thread, from the start of Python to the tables: all its CPU time, user and system, and its
peak memory with all pages of mapped files. The original's 2,790 CPU seconds were measured
elsewhere and are scaled by a matrix product timed on both machines. scikit-learn fits a part of
the episodes and is extrapolated: its time is proportional to the frames.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# This file bears the name of the package: its own folder must not come first.
sys.path[0] = str(Path(__file__).resolve().parent / "support")

ORIGINAL_CPU, ORIGINAL_GB = 2790.0, 5.9
TARGET_RATIO, TARGET_GB = 150.0, 2.5
EACH, MEAN = 2e-3, 2e-4
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}


@dataclass(frozen=True)
class Size:
    """Every so many-th episode, of so many frames."""

    every: int
    frames: int

    @property
    def rows(self) -> int:
        """Frames in all."""
        return len(range(0, 2720, self.every)) * self.frames


FULL, PART = Size(1, 1800), Size(68, 1800)
QUICK, QUICK_PART = Size(40, 300), Size(85, 100)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a small size, in seconds")
    parser.add_argument("--folder", type=Path, help="where the temporary files lie")
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        name, folder, *numbers = given.step
        answer = STEPS[name](Path(folder), *map(int, numbers))
        print(json.dumps({**(answer or {}), **taken()}))
        return 0

    from measure import YARDSTICK_REFERENCE, Table, yardstick
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        unit = yardstick(repeats=2 if given.quick else 7)
    print(f"yardstick {unit:.3f} s (where the original was timed: {YARDSTICK_REFERENCE} s)")
    table, scale = Table(), unit / YARDSTICK_REFERENCE
    with tempfile.TemporaryDirectory(prefix="hieras-eval-", dir=given.folder) as folder:
        cpu = whole(table, Path(folder), QUICK if given.quick else FULL, scale)
    with tempfile.TemporaryDirectory(prefix="hieras-eval-", dir=given.folder) as folder:
        part(table, Path(folder), QUICK_PART if given.quick else PART, None if given.quick else cpu)
    if table.missed:
        print("missed targets: " + "; ".join(table.missed))
    return 0


def whole(table: Any, folder: Path, size: Size, scale: float) -> float:
    """Time and memory at the size of the benchmark; the CPU seconds."""
    table.section(
        f"{size.rows:,} frames x 64 features, 30 tasks, 3 seeds, 5 penalties, one thread",
        "Each in a process of its own, with its start and its imports.",
    )
    step("write", folder, size.every, size.frames)
    share = size.rows / FULL.rows
    original = ORIGINAL_CPU * scale * share
    note = "" if size == FULL else f", of {share:.4f} of the frames"
    measured = {"tables in memory": (ours := step("evaluate", folder))}
    if size == FULL:
        measured["command with tables, record and figure"] = step("command", folder)
    for what, found in measured.items():
        table.row(
            f"CPU s, {what}",
            f"{found['cpu']:.1f} (wall {found['wall']:.1f})",
            f"{original:.0f} (scaled{note})",
            original / found["cpu"],
            # A small size is all overhead.
            TARGET_RATIO if size == FULL and found is ours else None,
        )
        table.row(
            f"peak memory GB, {what}, mapped files included",
            f"{found['gigabytes']:.2f}",
            f"{ORIGINAL_GB}" if size == FULL else "",
            TARGET_GB / found["gigabytes"],
            1.0,
        )
    for stage, seconds in ours["stages"].items():
        table.row(f"CPU s, {stage}", f"{seconds:.2f}")
    return ours["cpu"]


def part(table: Any, folder: Path, size: Size, cpu: float | None) -> None:
    """Scores and time of scikit-learn on a part of the episodes."""
    table.section(
        f"against scikit-learn's RidgeClassifier: {size.rows:,} frames, 450 fits",
        "Ours with the float32 products of the full size.",
    )
    step("write", folder, size.every, size.frames)
    found = step("compare", folder)
    for what, off, limit in (("of a task", "each", EACH), ("of means", "mean", MEAN)):
        ratio = limit / max(found[off], limit / 1000)
        table.row(f"largest difference {what}", f"{found[off]:.1e}", f"<= {limit:g}", ratio, 1.0)
    table.row(
        "CPU s, fits, predictions and scores",
        f"{found['ours']:.2f}",
        f"{found['sklearn']:.1f}",
        found["sklearn"] / found["ours"],
    )
    if cpu is not None:
        extrapolated = found["sklearn"] * FULL.rows / size.rows
        table.row(
            f"CPU s at {FULL.rows:,} frames, scikit-learn extrapolated",
            f"{cpu:.1f}",
            f"{extrapolated:.0f}",
            extrapolated / cpu,
        )


def step(name: str, folder: Path, *numbers: int) -> dict[str, Any]:
    """Run a step in a process of its own; its answer, CPU seconds, wall seconds and peak memory."""
    words = [sys.executable, __file__, "--step", name, str(folder), *map(str, numbers)]
    began = time.perf_counter()
    answer = subprocess.run(
        words, stdout=subprocess.PIPE, text=True, env=os.environ | ONE_THREAD, check=True
    )
    wall = time.perf_counter() - began
    return {"wall": wall, **json.loads(answer.stdout.splitlines()[-1])}


def taken() -> dict[str, float]:
    """CPU seconds (user and system) and peak memory of this process since its start."""
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    return {"cpu": time.process_time(), "gigabytes": peak * 1024 / 1e9}


# -- what the processes do -------------------------------------------------------------------------


def write(folder: Path, every: int, frames: int) -> None:
    import evaluator_data

    evaluator_data.write(folder, every=every, frames=frames)


def evaluate(folder: Path) -> dict[str, Any]:
    """Read, check, fit, count and score, with the CPU time of each stage."""
    from hieras_eval import evaluate, load_benchmark, open_labels, open_submission, read_truth

    stages: dict[str, float] = {}
    last = ["start and imports", time.process_time()]
    stages[last[0]] = last[1]

    def told(stage: str, done: int, total: int) -> None:
        now = time.process_time()
        stages[stage] = stages.get(stage, 0.0) + now - last[1]
        last[1] = now

    labels = open_labels(folder / "labels.npy")
    benchmark = load_benchmark("Shot7M2", metadata=folder / "metadata", labels=labels)
    truth = read_truth(benchmark, labels, told)
    submission = open_submission(folder / "test_submission_0.npy")
    evaluation = evaluate(truth, submission, progress=told)
    told("tables", 1, 1)
    evaluation.authors.to_csv(folder / "results.csv", index=False)
    return {"stages": stages}


def command(folder: Path) -> None:
    """The same through the command line, with its tables, its figure and its record."""
    from hieras_eval.cli import main as run

    words = ["run", "--task", "Shot7M2", "--metadata", folder / "metadata"]
    words += ["--submission", folder / "test_submission_0.npy", "--labels", folder / "labels.npy"]
    words += ["--output-dir", folder / "results"]
    if run([str(word) for word in words]):
        raise SystemExit(1)


def compare(folder: Path) -> dict[str, float]:
    """Scores and CPU seconds of ours and of scikit-learn's fits."""
    import evaluator_original_style

    from hieras_eval import (
        evaluate,
        fitting,
        load_benchmark,
        open_labels,
        open_submission,
        read_truth,
    )

    fitting.EXACT_ROWS = 0  # as at the full size
    labels = open_labels(folder / "labels.npy")
    benchmark = load_benchmark("Shot7M2", metadata=folder / "metadata", labels=labels)
    submission = open_submission(folder / "test_submission_0.npy")
    times = [time.process_time()]
    got = evaluate(read_truth(benchmark, labels), submission).authors
    times.append(time.process_time())
    embeddings, values = submission.embeddings.copy(), labels.values.copy()
    wanted = evaluator_original_style.evaluate(benchmark, embeddings, values)
    times.append(time.process_time())
    scores = [column for column in wanted if "Score" in column]
    off = (got[scores] - wanted[scores]).abs()
    means = (got[scores].mean() - wanted[scores].mean()).abs()
    return {
        "each": float(off.to_numpy().max()),
        "mean": float(means.max()),
        "ours": times[1] - times[0],
        "sklearn": times[2] - times[1],
    }


STEPS = {"write": write, "evaluate": evaluate, "command": command, "compare": compare}


if __name__ == "__main__":
    raise SystemExit(main())
