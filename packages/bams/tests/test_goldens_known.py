"""A reference case that no test knows must not pass in silence."""

from __future__ import annotations

import json

KNOWN = {
    "bams_custom_labels",
    "bams_fly_pipeline",
    "bams_hoa_target_and_loss",
    "bams_model_forward",
    "bams_mouse_pipeline",
    "bams_mouse_submission",
    "bams_quadruped_prep",
    "bams_readout",
    "bams_train_steps",
}


def test_every_case_of_this_package_has_a_known_kind(goldens_dir):
    cases = sorted(goldens_dir.glob("bams_*"))
    kinds = {
        folder.name: json.loads((folder / "case.json").read_text())["kind"] for folder in cases
    }
    unknown = {name: kind for name, kind in kinds.items() if kind not in KNOWN}
    assert not unknown, f"reference cases that nothing checks: {unknown}"
    assert kinds, f"no bams_ case under {goldens_dir}"
