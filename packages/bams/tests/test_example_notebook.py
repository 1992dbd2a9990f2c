"""The notebook under examples/ works from its first cell to its last."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

NOTEBOOK = Path(__file__).resolve().parents[3] / "examples" / "bams_latents.ipynb"


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run a cell and give the value of its last line, as a notebook shows it."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, NOTEBOOK.name, "exec"), names)
    if last is None:
        return None
    shown = ast.Assign([ast.Name("_", ast.Store())], last.value)
    tree.body = [ast.fix_missing_locations(ast.copy_location(shown, last))]
    exec(compile(tree, NOTEBOOK.name, "exec"), names)
    return names["_"]


def test_every_cell_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not NOTEBOOK.is_file():
        pytest.skip(f"no {NOTEBOOK.name}: only the repository has the examples")
    monkeypatch.chdir(tmp_path)
    shown: list[str] = []
    display = SimpleNamespace(Image=lambda path: shown.append(path))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    names: dict[str, Any] = {}
    results = [run_cell("".join(cell["source"]), names) for cell in cells]
    assert not any(cell["outputs"] for cell in cells)
    (picture,) = shown
    assert Path(picture).stat().st_size > 10_000
    table = results[-1]
    assert list(table.index) == ["short_term", "long_term", "combined"]
    # Chance is about 0.12 for eight movements.
    assert table.loc["combined", "movement"] > 0.2
