"""A reference case that no test knows must not pass in silence."""

from __future__ import annotations

import json

KNOWN = {
    "uas_backbone",
    "uas_lr_schedule",
    "uas_metrics",
    "uas_pixel_pipeline",
    "uas_sample_frames",
    "uas_state_dict_layout",
    "uas_train",
}


def test_every_case_of_this_package_has_a_known_kind(goldens_dir):
    cases = sorted(goldens_dir.glob("uas_*"))
    kinds = {
        folder.name: json.loads((folder / "case.json").read_text())["kind"] for folder in cases
    }
    unknown = {name: kind for name, kind in kinds.items() if kind not in KNOWN}
    assert not unknown, f"reference cases that nothing checks: {unknown}"
    assert kinds, f"no uas_ case under {goldens_dir}"
