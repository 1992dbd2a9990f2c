"""The folder of a run: its settings, and how they are read back.

``.hydra/`` is Hydra's: ``config.yaml`` (interpolations in place), ``hydra.yaml``,
``overrides.yaml``. ``resolved.yaml`` beside them has the settings as the run saw them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from behaviorzoo.config import read_yaml
from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path, existing_file
from sgear.config import Config, checked, configure
from sgear.tree import Tree

SETTINGS = ".hydra"
RESOLVED = "resolved.yaml"
FIGURES = "figures.json"


def save_settings(folder: Path, config: Config, tree: Tree) -> None:
    """Write ``.hydra/``.

    Raises:
        UserError: The folder cannot be written.
    """
    from omegaconf import OmegaConf

    hydra = OmegaConf.masked_copy(tree.hydra, "hydra")
    texts = {
        "config.yaml": OmegaConf.to_yaml(tree.config),
        "hydra.yaml": OmegaConf.to_yaml(hydra),
        "overrides.yaml": yaml.safe_dump(list(tree.overrides), width=1000),
        RESOLVED: yaml.safe_dump(config.plain, sort_keys=False, default_flow_style=None),
    }
    for name, text in texts.items():
        with atomic_path(folder / SETTINGS / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def read_settings(folder: str | Path, words: Sequence[str] = ()) -> tuple[Config, Tree]:
    """Settings of a run, changed by words.

    Args:
        folder: Run folder.
        words: Overrides behind those of the run; groups can be chosen anew, too.

    Raises:
        UserError: Not a run folder, or mistakes in the words.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise UserError(f"{folder}: no such run folder")
    saved = folder / SETTINGS / "overrides.yaml"
    if not saved.exists():
        raise UserError(f"{folder}: no {SETTINGS}/overrides.yaml in it, so it is no run of sgear")
    given = yaml.safe_load(existing_file(saved, "list of overrides").read_text(encoding="utf-8"))
    was = checked(read_yaml(folder / SETTINGS / RESOLVED), str(folder / SETTINGS / RESOLVED))
    place = [] if any(word.startswith("cwd=") for word in given) else [f"cwd='{was.settings.cwd}'"]
    return configure([*place, *given, *words], run_dir=str(folder))


def settings_for(
    words: Sequence[str],
    experiment: str | None = None,
    out: Path | None = None,
    resume: bool = False,
) -> tuple[Config, Tree, Path]:
    """Settings and folder of a run to train.

    Args:
        words: Overrides.
        experiment: TXT experiment that they lie over.
        out: Run folder; default is ``hydra.run.dir``.
        resume: Take the settings of the run in the folder, where no experiment is named.

    Raises:
        UserError: Mistakes in the words or the experiment, an experiment of several runs, or
            nothing to resume.
    """
    from sgear.experiments import overrides
    from sgear.launcher import arguments
    from sgear.txt import expand

    place = None if out is None else str(out)
    if resume and experiment is None:
        _, tree = configure([word for word in words if word.startswith("hydra.run.dir=")], place)
        folder = Path(tree.hydra.hydra.run.dir)
        if (folder / SETTINGS / "overrides.yaml").exists():
            # An evaluation may have been the last to leave its settings here (launch -t).
            config, tree = read_settings(folder, ["test_only=false", *words])
            return config, tree, folder
        if not words:
            raise UserError(
                f"{folder}: no run in it to go on with; check the path, or start one with "
                "--experiment TXT"
            )
    if experiment is not None:
        runs = expand([*overrides(experiment), *words])
        if len(runs) > 1:
            raise UserError(
                f"{experiment} is {len(runs)} runs; `sgear launch` starts them, or give one value "
                "for every key"
            )
        words = arguments(runs[0])
    config, tree = configure(words, place)
    return config, tree, Path(tree.hydra.hydra.run.dir)
