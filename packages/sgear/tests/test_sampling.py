"""Which frames make a clip, against the rules written out step by step."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sgear.data.config import Strategy
from sgear.data.sampling import (
    Draws,
    Sampling,
    Span,
    clip_span,
    frame_times,
    kept_frames,
    rulstm_frames,
    stored_frames,
)

STRATEGIES: list[Strategy] = ["random_clip", "center_clip", "last_clip", "first_clip"]
strategies = st.sampled_from(STRATEGIES)
rates = st.sampled_from([0.0, 10.0, 15.0, 23.976, 29.97, 30.0, 59.94])
wanted_rates = st.sampled_from([None, 0.5, 1.0, 2.0, 4.0, 30.0])
times = st.floats(-20, 200, allow_nan=False).map(lambda t: round(t, 3))


def slow_span(start, end, F, R, n, strategy, shorten, draws):
    """Section by section as the rules are written down."""
    if R is None:
        R = F
    if F <= 0:
        F = R
    start, end = max(start, 0), max(end, 0)
    nframes = int(F * (end - start))
    if shorten:
        start = start + 0.5 * draws.uniform() * (end - start)
    ext = round(n * F / R)
    if strategy == "random_clip":
        first = draws.integer(nframes - ext) if nframes - ext > 0 else 0
    elif strategy == "center_clip":
        first = max((nframes - ext) // 2, 0)
    elif strategy == "last_clip":
        first = max(nframes - ext, 0)
    else:
        first = 0
    new_start = start + first / F
    new_end = start + (first + ext) / F
    new_end = max(min(end, new_end), 0)
    return min(max(new_start, 0), new_end), new_end


def slow_kept(n_found, F, R, n, strategy):
    """The kept frames by walking and padding lists."""
    R = F if R is None else R
    F = R if F <= 0 else F
    step = max(round(F / R), 1)
    if strategy == "last_clip":
        kept = list(range(n_found - 1, -1, -step))[::-1]
        while len(kept) < n:
            kept.insert(0, kept[0])
        return kept[-n:]
    kept = list(range(0, n_found, step))
    while len(kept) < n:
        kept.append(kept[-1])
    return kept[:n]


@given(
    times, st.floats(0.01, 120), rates, wanted_rates, st.integers(1, 20), strategies, st.booleans()
)
def test_span(start, length, F, R, n, strategy, shorten):
    if F <= 0 and R is None:
        return
    end, seed = round(start + length, 3), 5
    how = Sampling(n, R, strategy, shorten)
    span = clip_span(start, end, F, how, Draws(seed))
    assert tuple(span) == slow_span(start, end, F, R, n, strategy, shorten, Draws(seed))
    assert 0 <= span.start <= span.end <= max(end, 0)


@given(st.integers(1, 700), rates, wanted_rates, st.integers(1, 20), strategies)
def test_kept(n_found, F, R, n, strategy):
    if F <= 0 and R is None:
        return
    kept = kept_frames(n_found, F, Sampling(n, R, strategy))
    assert kept.tolist() == slow_kept(n_found, F, R, n, strategy)


def test_the_clip_of_the_published_features():
    """15 frames at 1 per second out of 30: the last 450 frames, every 30th."""
    how = Sampling(15, 1.0, "last_clip")
    span = clip_span(100.0, 115.0, 30.0, how, Draws(0))
    found = stored_frames(span, 30.0)
    assert len(found) == 450
    assert found[kept_frames(450, 30.0, how)].tolist() == list(range(3030, 3451, 30))


def test_the_clip_ends_at_the_end_of_the_segment_and_never_behind_it():
    how = Sampling(4, 2.0, "last_clip")
    span = clip_span(3.0, 9.0, 30.0, how, Draws(0))
    assert span == (7.0, 9.0)
    frames = np.arange(0, 300) / 30
    inside = frames[(frames >= span.start) & (frames <= span.end)]
    assert inside[kept_frames(len(inside), 30.0, how)].max() <= 9.0


def test_halves_are_rounded_to_even_as_in_the_original():
    # 7.5 frames from one to the next become 8
    assert np.diff(kept_frames(100, 30.0, Sampling(3, 4.0, "first_clip"))).tolist() == [8, 8]


def test_global_generator_without_a_seed():
    how = Sampling(2, None, "random_clip", shorten=True)
    torch.manual_seed(3)
    u = torch.rand(1).item()
    first = torch.randint(300 - 2, (1,)).item()
    torch.manual_seed(3)
    span = clip_span(0.0, 10.0, 30.0, how, Draws())
    assert span.start == 0.5 * u * 10.0 + first / 30.0 or span.start == span.end


def test_seeded_draws_leave_the_global_generator_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    draws = Draws(1)
    assert (draws.uniform(), draws.integer(100)) == (Draws(1).uniform(), _second_integer())
    assert torch.equal(before, torch.get_rng_state())


def _second_integer() -> int:
    draws = Draws(1)
    draws.uniform()
    return draws.integer(100)


@given(st.floats(0, 50), st.floats(0, 20))
def test_stored_frames_count_down_from_the_end(start, length):
    end = start + length
    slow = []
    frame = math.floor(end * 30)
    while frame > math.floor(start * 30):
        slow.insert(0, frame)
        frame -= 1
    if any(frame >= 1 for frame in slow):
        slow = [max(frame, min(f for f in slow if f >= 1)) for frame in slow]
    assert stored_frames(Span(start, end), 30.0).tolist() == [f for f in slow if f >= 1]


def test_rulstm_frames():
    frames = rulstm_frames(Span(0.0, 10.0), 30.0)
    assert len(frames) == 11
    assert frames[-1] == 300
    assert frames[0] == 225
    # time stamps before the video take its first frame in the list
    assert rulstm_frames(Span(0.0, 1.0), 30.0).tolist() == [7, 7, 7, 7, 7, 7, 7, 7, 15, 22, 30]


@pytest.mark.parametrize(("start", "end"), [(2.0, 2.0), (1.0, 3.0)])
def test_times_include_both_ends(start, end):
    t = frame_times(Span(start, end), 5, np.arange(5))
    assert (t[0], t[-1], len(t)) == (start, end, 5)


# A millionth of a second or nothing: numpy's last step is another below its normal numbers.
LENGTHS = st.floats(1e-6, 60) | st.just(0.0)


@given(st.floats(0, 500), LENGTHS, st.integers(1, 460), st.integers(0, 400))
def test_times_are_evenly_spread(start, length, n, first):
    span, kept = Span(start, start + length), np.arange(min(first, n - 1), n, 7)
    wanted = np.linspace(*span, n)[kept]
    assert frame_times(span, n, kept).tolist() == wanted.tolist()
