"""The verb ``sgear submit``: challenge files of one run, or of several fused."""

from __future__ import annotations

from pathlib import Path

from behaviorzoo import commands
from behaviorzoo.errors import UserError
from sgear.run_options import add_run_options, read_run_options

SUPERVISION = {
    "sls_pt": "level of pre-training",
    "sls_tl": "level of labels",
    "sls_td": "level of data",
}

ABOUT = """\
Write the challenge files of EPIC-Kitchens: json, and submit.zip with them.

Runs are given as for `sgear fuse`; several are fused with their weights. EPIC-100 gives test.json.
EPIC-55 gives seen.json from results/ and unseen.json from results_s2/. Without --out the files go
into challenge/ of the first run."""
EXAMPLE = """\
sgear submit expts/ek100_SGEAR_vit.txt
sgear submit expts/a.txt:2.5 expts/b.txt:0.5 --out challenge"""


def command(words: list[str]) -> None:
    """Write challenge files.

    Args:
        words: What stands behind ``sgear submit``.

    Raises:
        UserError: Wrong options or files.
    """
    parser = commands.verb_parser("sgear", "submit", ABOUT, EXAMPLE)
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN[:WEIGHT]", help="runs, fused if there are several")
    add("--normalise", type=float, metavar="P", help="divide every score vector by its P-norm")
    for name, meaning in SUPERVISION.items():
        add(f"--{name.replace('_', '-')}", type=int, metavar="N", help=f"EPIC-100: {meaning}")
    add_run_options(parser)
    add("--out", type=Path, metavar="DIR", help="folder for the files")
    given = parser.parse_intermixed_args(words)

    from sgear.ek_metrics import EPIC55
    from sgear.fusion import aligned, fuse
    from sgear.fusion_inputs import locate, parse_source
    from sgear.submission import FILES, file_name, submission, write_submission

    sources = [parse_source(word) for word in given.runs]
    weights = [1.0 if source.weight is None else source.weight for source in sources]
    levels = {name: getattr(given, name) for name in SUPERVISION}
    supervision = {name: level for name, level in levels.items() if level is not None}
    suffixes = [given.suffix]
    contents = {}
    version = 0.0
    while suffixes:
        suffix = suffixes.pop(0)
        runs = read_run_options(sources, given, suffix)
        items = next(run.items for run in reversed(runs) if run.items is not None)
        fused, _ = aligned(fuse(runs, weights, given.normalise), items)
        missing = len(items.table) - len(fused.uids)
        if missing:
            raise UserError(
                f"{missing} of {len(items.table)} items have no scores, and the challenge wants "
                "all; run `sgear test` on the whole set"
            )
        assert fused.items is not None
        version = items.version or 0.0
        contents[file_name(version, suffix)] = submission(fused.scores, fused.items, supervision)
        if version == EPIC55 and suffix == "" and _is_there(sources[0].path, given.outputs):
            suffixes.append("_s2")
    first = locate(sources[0].path, given.outputs, given.suffix)
    out = given.out or (first.parent if first.is_dir() else first.parent.parent) / "challenge"
    archive = write_submission(contents, out)
    for name, content in contents.items():
        print(f"{out / name}: {len(content['results'])} items")
    lacking = [name for name in FILES[version].values() if name not in contents]
    if lacking:
        print(f"note: no {', '.join(lacking)}: there are no results for it")
    print(f"archive: {archive}")


def _is_there(path: Path, outputs: Path) -> bool:
    """Whether there are results of the unseen kitchens, too."""
    from sgear.fusion_inputs import locate

    try:
        locate(path, outputs, "_s2")
    except UserError:
        return False
    return True
