"""ChimpBehave: 20-frame clips named ``<video>_<start>_<end>_<behaviour>_clip_<a>_<b>.mp4``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from behaviorzoo.errors import UserError
from behaviorzoo.files import existing_file
from uas_swin.data.lists import Entry, ListFormat, read_list
from uas_swin.data.prepare.splitting import held_out
from uas_swin.data.prepare.writing import Checks, Prepared, write_prepared

CLASSES = (
    "sitting",
    "standing",
    "walking",
    "hanging",
    "climbing_up",
    "climbing_down",
    "running",
)
"""In the order of the ids in the data set's own lists."""
_NAME = re.compile(rf"(.+?)_({'|'.join(CLASSES)})_clip_\d+_\d+\.\w+")


def prepare_chimpbehave(
    videos: str | Path,
    out: str | Path,
    *,
    annotations: str | Path | None = None,
    train: str | Path | None = None,
    val: str | Path | None = None,
    fold: int = 1,
    subset: str = "CB",
    val_share: float = 0.2,
    seed: int = 0,
    checks: Checks | None = None,
) -> Prepared:
    """Write ``chimpbehave_train.txt`` and ``chimpbehave_val.txt``.

    The split is, in this order: the two lists ``train`` and ``val`` (such as those that the authors
    of UAS released); a fold of the data set's own cross-validation; or, from the names of the
    clips, whole source videos held out, near ``val_share`` of each class.

    Args:
        videos: Folder of the clips (``miniclips``).
        out: Folder of the lists.
        annotations: Folder of ``CB_train_cv1.txt``, ``CB_test_cv1.txt`` and so on.
        train: List of the training clips.
        val: List of the validation clips.
        fold: Of the cross-validation.
        subset: ``CB`` (ChimpBehave) or ``PANAF`` (PanAf500 in the same form).
        val_share: Of a split of our own.
        seed: Of a split of our own.
        checks: How the clips are looked at.

    Raises:
        UserError: A list or the clips are missing, or a list contradicts the name of a clip.
    """
    videos, out = Path(videos), Path(out)
    notes: list[str] = []
    if (train is None) != (val is None):
        raise UserError("ChimpBehave: give both lists, train and val, or none")
    if train is not None and val is not None:
        splits = {"train": _listed(train), "val": _listed(val)}
    elif annotations is not None:
        names = {"train": f"{subset}_train_cv{fold}.txt", "val": f"{subset}_test_cv{fold}.txt"}
        splits = {split: _listed(_find(Path(annotations), name)) for split, name in names.items()}
        notes.append(f"split: fold {fold} of the data set's own cross-validation")
    else:
        splits = _from_names(videos, val_share, seed)
        notes.append(f"split: whole source videos held out, seed {seed}; not the authors' own")
    return write_prepared(
        "chimpbehave",
        splits,
        CLASSES,
        dict.fromkeys(splits, videos),
        {split: out / f"chimpbehave_{split}.txt" for split in splits},
        checks or Checks(),
        notes,
    )


def behaviour_of(name: str) -> str | None:
    """The behaviour in the name of a clip; None if it is named otherwise."""
    match = _NAME.fullmatch(Path(name).name)
    return match and match[2]


def source_of(name: str) -> str:
    """The video a clip was cut from, by its name: without frame numbers and individual."""
    match = _NAME.fullmatch(Path(name).name)
    return re.sub(r"(_\d+)+$", "", match[1]) if match else Path(name).stem


def _listed(path: str | Path) -> list[Entry]:
    """A list, every label checked against the name of its clip."""
    entries = read_list(path, ListFormat(classes=CLASSES))
    for entry in entries:
        named = behaviour_of(entry.path)
        if named is not None and CLASSES[entry.labels[0]] != named:
            raise UserError(
                f"{path}, line {entry.line}: label {entry.labels[0]} is "
                f"{CLASSES[entry.labels[0]]!r}, but the clip is called {entry.path}; "
                "the list has another order of classes"
            )
    return entries


def _find(folder: Path, name: str) -> Path:
    """A list below a folder, wherever the data set's repository keeps it."""
    found = sorted(folder.rglob(name)) if folder.is_dir() else []
    return existing_file(found[0] if found else folder / name, "list of ChimpBehave")


def _from_names(videos: Path, share: float, seed: int) -> dict[str, Sequence[Entry]]:
    if not videos.is_dir():
        raise UserError(f"{videos}: no such folder; give the folder of the clips")
    files = sorted(p.relative_to(videos).as_posix() for p in videos.rglob("*") if p.is_file())
    named = [(name, behaviour_of(name)) for name in files]
    entries = [Entry(name, (CLASSES.index(what),)) for name, what in named if what is not None]
    if not entries:
        raise UserError(
            f"{videos}: no clip named <video>_<start>_<end>_<behaviour>_clip_<a>_<b>.mp4; cut the "
            "clips with the data set's tool, or give lists"
        )
    out = held_out(
        [entry.labels[0] for entry in entries], share, seed, [source_of(e.path) for e in entries]
    )
    return {
        "train": [entry for entry, held in zip(entries, out, strict=True) if not held],
        "val": [entry for entry, held in zip(entries, out, strict=True) if held],
    }
