"""A reference case that no test knows must not pass in silence."""

from __future__ import annotations

import json

KNOWN = {
    "hysp_augment",
    "hysp_data_ntu",
    "hysp_data_pku",
    "hysp_encoder",
    "hysp_ensemble",
    "hysp_graphs",
    "hysp_hyperbolic",
    "hysp_loss",
    "hysp_pretrain_step",
    "hysp_probe",
    "hysp_semi_split",
    "hysp_streams",
    "hysp_variants",
}


def test_every_case_of_this_package_has_a_known_kind(goldens_dir):
    cases = sorted(goldens_dir.glob("hysp_*"))
    kinds = {
        folder.name: json.loads((folder / "case.json").read_text())["kind"] for folder in cases
    }
    unknown = {name: kind for name, kind in kinds.items() if kind not in KNOWN}
    assert not unknown, f"reference cases that nothing checks: {unknown}"
    assert kinds, f"no hysp_ case under {goldens_dir}"
