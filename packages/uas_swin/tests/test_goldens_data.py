"""Frame sampling and the pixel pipeline against what the authors' code computes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from uas_swin.data.draws import KEY, Draws
from uas_swin.data.sampling import SamplingConfig, sample_frames


def cases(goldens_dir, kind):
    found = []
    for folder in sorted(goldens_dir.glob("uas_*")):
        case = json.loads((folder / "case.json").read_text())
        if case["kind"] == kind:
            found.append((folder, case))
    assert found, f"no case of kind {kind} under {goldens_dir}"
    return found


def test_frames_are_those_of_the_authors(goldens_dir):
    from uas_swin.data.transforms import UasSampleFrames

    for folder, case in cases(goldens_dir, "uas_sample_frames"):
        assert case["cases"], folder.name
        for number, one in enumerate(case["cases"]):
            expected = np.array(one["frame_inds"]) - one["start_index"]
            config = SamplingConfig(**one["args"])
            rng = np.random.RandomState(one["seed"])
            frames = sample_frames(one["total_frames"], config, rng)
            where = f"{folder.name}, case {number}"
            np.testing.assert_array_equal(frames.reshape(-1), expected, err_msg=where)
            results: dict = {"total_frames": one["total_frames"], "start_index": one["start_index"]}
            results[KEY] = Draws.seeded(one["seed"])
            results = UasSampleFrames(**one["args"]).transform(results)
            np.testing.assert_array_equal(results["frame_inds"], one["frame_inds"], err_msg=where)


@pytest.mark.parametrize("distinct", [False, True])
def test_pixels_are_those_of_the_authors(goldens_dir, distinct):
    from mmengine.registry import TRANSFORMS

    from uas_swin.data.transforms import pipeline_from_upstream

    for folder, case in cases(goldens_dir, "uas_pixel_pipeline"):
        frames = np.load(folder / "inputs.npz")["frames"]
        expected = np.load(folder / "expected.npz")
        assert set(expected.files) == set(case["runs"])
        for name, run in case["runs"].items():
            results = {
                "imgs": frames.copy(),
                "img_shape": frames.shape[1:3],
                "modality": "RGB",
                "clip_len": run["clip_len"],
                "num_clips": run["num_clips"],
                KEY: Draws.seeded(run["seed"]),
            }
            if distinct:  # every frame once, in another order
                order = np.random.RandomState(0).permutation(len(frames))
                results |= {"imgs": frames[order], "frame_order": np.argsort(order)}
            for step in pipeline_from_upstream(run["steps"]):
                results = TRANSFORMS.build(step)(results)
            where = f"{folder.name}: {name}"
            views = results["imgs"]
            assert list(views.shape) == run["shape"] == list(expected[name].shape), where
            np.testing.assert_allclose(
                views, expected[name], rtol=0, atol=case["tolerances"]["atol"], err_msg=where
            )
            assert results["flip"] == run["flip"], where
            if run["crop_bbox"] is not None:
                np.testing.assert_array_equal(results["crop_bbox"], run["crop_bbox"], where)
