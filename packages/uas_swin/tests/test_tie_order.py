"""Equal scores in the order in which the original's sort leaves them, on every processor."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uas_swin.metrics import top_k_accuracy
from uas_swin.metrics.tie_order import LONGEST, argsort_rows

RECORDED = [  # numpy 2.4 with AVX-512 and with AVX2, which agree
    ("00000", "01234"),
    ("23321", "40312"),
    ("010101010", "026483517"),
    ("3311220", "6324510"),
]


def digits(word: str) -> list[int]:
    return [int(letter) for letter in word]


@st.composite
def tied(draw):
    """Scores (n, C) of few different values."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, n_classes, levels = (draw(st.integers(1, top)) for top in (5, 40, 6))
    return rng.integers(0, levels, (n, n_classes)).astype(np.float32) / 8


def slow_network(row: list[float]) -> list[int]:
    """Two halves are sorted, the second turned round, and both merged by compare-and-swap."""
    width = 1
    while width < len(row):
        width *= 2
    pairs = [(value, number) for number, value in enumerate(row)]
    pairs += [(float("inf"), -1)] * (width - len(row))

    def merged(part):
        if len(part) == 1:
            return part
        half = len(part) // 2
        low, high = list(part[:half]), list(part[half:])
        for i in range(half):
            if high[i][0] < low[i][0]:
                low[i], high[i] = high[i], low[i]
        return merged(low) + merged(high)

    def in_order(part):
        if len(part) == 1:
            return part
        half = len(part) // 2
        low, high = in_order(part[:half]), in_order(part[half:])[::-1]
        for i in range(half):
            if high[i][0] < low[i][0]:
                low[i], high[i] = high[i], low[i]
        return merged(low) + merged(high[::-1])

    return [number for _, number in in_order(pairs) if number >= 0]


@pytest.mark.parametrize(("scores", "order"), RECORDED)
def test_recorded_rows(scores, order):
    row = np.array([digits(scores)], dtype=np.float32)
    assert argsort_rows(row)[0].tolist() == digits(order)
    assert slow_network(row[0].tolist()) == digits(order)


@settings(max_examples=60, deadline=None)
@given(tied())
def test_every_row_goes_through_the_network(scores):
    for row, order in zip(scores, argsort_rows(scores), strict=True):
        if len(set(row.tolist())) < len(row):
            assert order.tolist() == slow_network(row.tolist())
        else:
            assert order.tolist() == np.argsort(row).tolist()


def test_the_processor_does_not_matter(monkeypatch):
    """Without the instructions that sort numpy's rows, numpy leaves short ones as a stable sort."""
    rng = np.random.default_rng(0)
    scores = (rng.integers(0, 10, (200, 5)) / 10).astype(np.float32)
    labels = rng.integers(0, 5, 200)
    here, sort = [top_k_accuracy(scores, labels, k) for k in (1, 2, 3)], np.argsort
    monkeypatch.setattr(np, "argsort", lambda a, axis=-1, kind=None: sort(a, axis, "stable"))
    assert (np.argsort(scores, axis=1) != argsort_rows(scores)).any()
    assert [top_k_accuracy(scores, labels, k) for k in (1, 2, 3)] == here


def test_numpy_on_a_processor_with_the_instructions():
    """Where this machine has them, its own sort is what is walked through."""
    program = (
        "import numpy as np; from uas_swin.metrics.tie_order import argsort_rows\n"
        "from numpy._core._multiarray_umath import __cpu_features__ as has\n"
        "used = has.get('X86_V3', has.get('AVX2'))\n"
        "rng = np.random.default_rng(1)\n"
        "for n in (2, 3, 5, 7, 8, 12, 33, 103, 256):\n"
        "    s = (rng.integers(0, max(3, n // 3), (50, n)) / 8).astype(np.float32)\n"
        "    ours = argsort_rows(s)\n"
        "    assert (np.take_along_axis(s, ours, 1) == np.sort(s, 1)).all()\n"
        "    assert not used or (ours == np.argsort(s, axis=1)).all(), n\n"
        "    print(n, ours.sum(0).tolist())\n"
    )
    told = []
    for off in ("", "X86_V4 AVX512_SKX", "X86_V4 AVX512_SKX X86_V3 AVX2"):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program],
            env={**os.environ, "NPY_DISABLE_CPU_FEATURES": off},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        told.append(done.stdout)
    assert told[0] == told[1] == told[2]


def test_long_and_infinite_rows_are_sorted_too():
    rng = np.random.default_rng(2)
    scores = rng.integers(0, 9, (4, LONGEST + 3)).astype(np.float32)
    assert (np.diff(np.take_along_axis(scores, argsort_rows(scores), 1), axis=1) >= 0).all()
    row = np.array([[np.inf, 0, np.inf, 0, 1]], dtype=np.float32)
    assert sorted(argsort_rows(row)[0].tolist()) == [0, 1, 2, 3, 4]
    assert argsort_rows(np.zeros((3, 1), dtype=np.float32)).tolist() == [[0]] * 3
