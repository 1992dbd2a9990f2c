"""A reference case that no test knows must not pass in silence."""

from __future__ import annotations

import json

KNOWN = {
    "sgear_50salads_segments",
    "sgear_anticipation_data",
    "sgear_eval_fusion",
    "sgear_features_forward",
    "sgear_language",
    "sgear_launcher",
    "sgear_schedule_mixup_transforms",
    "sgear_video_forward",
}


def test_every_case_of_this_package_has_a_known_kind(goldens_dir):
    cases = sorted(goldens_dir.glob("sgear_*"))
    kinds = {
        folder.name: json.loads((folder / "case.json").read_text())["kind"] for folder in cases
    }
    unknown = {name: kind for name, kind in kinds.items() if kind not in KNOWN}
    assert not unknown, f"reference cases that nothing checks: {unknown}"
    assert kinds, f"no sgear_ case under {goldens_dir}"
