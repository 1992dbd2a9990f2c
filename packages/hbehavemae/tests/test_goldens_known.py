"""A reference case that no test knows must not pass in silence."""

from __future__ import annotations

import json

KNOWN = {
    "hbm_augment",
    "hbm_data_hbabel",
    "hbm_data_mice",
    "hbm_data_shot",
    "hbm_extract",
    "hbm_model",
    "hbm_prepare_babel_labels",
    "hbm_prepare_babel_poses",
    "hbm_state_dicts",
    "hbm_train_steps",
}


def test_every_case_of_this_package_has_a_known_kind(goldens_dir):
    cases = sorted(goldens_dir.glob("hbm_*"))
    kinds = {
        folder.name: json.loads((folder / "case.json").read_text())["kind"] for folder in cases
    }
    unknown = {name: kind for name, kind in kinds.items() if kind not in KNOWN}
    assert not unknown, f"reference cases that nothing checks: {unknown}"
    assert kinds, f"no hbm_ case under {goldens_dir}"
