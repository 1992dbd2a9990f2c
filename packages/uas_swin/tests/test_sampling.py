"""Frames of clips against slow loops, and against the installed mmaction2."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviorzoo.errors import UserError
from uas_swin.data.sampling import SamplingConfig, sample_frames

LENGTHS = {
    "n_frames": st.integers(1, 120),
    "clip_len": st.integers(1, 20),
    "frame_interval": st.integers(1, 4),
    "num_clips": st.integers(1, 5),
    "out_of_bound_opt": st.sampled_from(["loop", "repeat_last"]),
}


def rng(seed=0):
    return np.random.RandomState(seed)


def slow_test_frames(n_frames, clip_len, frame_interval, num_clips, out_of_bound_opt):
    length = clip_len * frame_interval
    clips = []
    for k in range(num_clips):
        offset = 0
        if n_frames > length - 1:
            step = (n_frames - length + 1) / num_clips
            offset = int(k * step + step / 2)
        clip: list[int] = []
        for t in range(clip_len):
            frame = offset + t * frame_interval
            if frame >= n_frames:
                frame = frame % n_frames if out_of_bound_opt == "loop" else max(clip, default=0)
            clip.append(frame)
        clips.append(clip)
    return clips


@settings(max_examples=100, deadline=None)
@given(**LENGTHS)
def test_testing_clips_lie_in_the_middles(n_frames, **config):
    frames = sample_frames(n_frames, SamplingConfig(test_mode=True, **config), rng())
    assert frames.tolist() == slow_test_frames(n_frames, **config)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 99), **LENGTHS)
def test_training_clips_are_those_of_mmaction2(n_frames, seed, **config):
    from mmaction.datasets.transforms import SampleFrames

    frames = sample_frames(n_frames, SamplingConfig(**config), rng(seed))
    with pytest.MonkeyPatch.context() as patch:  # it draws from numpy's global generator
        patch.setattr("numpy.random.randint", rng(seed).randint)
        theirs = SampleFrames(**config).transform({"total_frames": n_frames, "start_index": 0})
    assert frames.reshape(-1).tolist() == theirs["frame_inds"].tolist()


@settings(max_examples=100, deadline=None)
@given(twice_sample=st.booleans(), **LENGTHS)
def test_the_rule_of_today_is_that_of_mmaction2(n_frames, twice_sample, **config):
    from mmaction.datasets.transforms import SampleFrames

    if twice_sample and config["num_clips"] == 1 and config["clip_len"] > 1:
        return  # mmaction2 divides by zero
    config |= {"twice_sample": twice_sample, "test_mode": True}
    frames = sample_frames(n_frames, SamplingConfig(rule="1.x", **config), rng())
    theirs = SampleFrames(**config).transform({"total_frames": n_frames, "start_index": 0})
    assert frames.reshape(-1).tolist() == theirs["frame_inds"].tolist()


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 99), test_mode=st.booleans(), **LENGTHS)
def test_every_frame_exists(n_frames, seed, test_mode, **config):
    jitter = SamplingConfig(test_mode=test_mode, temporal_jitter=True, **config)
    frames = sample_frames(n_frames, jitter, rng(seed))
    assert frames.shape == (config["num_clips"], config["clip_len"])
    assert frames.min() >= 0
    assert frames.max() < n_frames


def test_the_rules_differ_where_the_specification_says_so():
    arguments = {"clip_len": 32, "frame_interval": 2, "num_clips": 4, "test_mode": True}
    old = sample_frames(300, SamplingConfig(**arguments), rng())[:, 0]
    new = sample_frames(300, SamplingConfig(rule="1.x", **arguments), rng())[:, 0]
    assert old.tolist() == [29, 88, 148, 207]
    assert new.tolist() == [0, 79, 158, 237]


def test_twice_sampled_clips_come_with_and_without_their_shift():
    config = SamplingConfig(4, 1, 2, test_mode=True, twice_sample=True)
    starts = sample_frames(23, config, rng())[:, 0]
    assert starts.tolist() == [5, 15, 0, 10]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clip_len": 0}, "clip_len=0"),
        ({"clip_len": 8, "num_clips": 0}, "num_clips=0"),
        ({"clip_len": 8, "out_of_bound_opt": "lop"}, "did you mean 'loop'"),
        ({"clip_len": 8, "rule": "2.x"}, "rule: unknown '2.x'"),
    ],
)
def test_what_is_no_rule_is_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        SamplingConfig(**arguments)


def test_a_video_without_frames_has_no_clip():
    with pytest.raises(UserError, match="0 frames"):
        sample_frames(0, SamplingConfig(8), rng())


def test_a_misspelt_argument_of_the_step_is_named():
    from uas_swin.data.transforms import UasSampleFrames

    with pytest.raises(UserError, match="did you mean 'clip_len'"):
        UasSampleFrames(clip_length=8)
