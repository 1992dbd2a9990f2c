"""The results of a benchmark in a folder: what was evaluated, how, and what may be replaced.

``<task>-results.json`` is the record: settings, the digests of the files that were read, and the
summaries of every level. What it says decides whether a level is there already. A file that is
not known to come from the same settings is never replaced unless the user asks for it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from behaviorzoo.errors import UserError
from behaviorzoo.files import atomic_path
from hieras_eval import tables
from hieras_eval.summaries import CORRECTED, PUBLISHED, group_means, published_summary
from hieras_eval.tables import level_order

if TYPE_CHECKING:
    from hieras_eval.benchmarks import Benchmark
    from hieras_eval.protocol import Evaluation

FORMAT = 1
CUSTOM = "custom"
RECORD_SUFFIX = "-results.json"


def file_digest(path: str | Path) -> dict[str, Any]:
    """Name, size and SHA-256 of a file: enough to know it again in another place."""
    path = Path(path)
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": digest}


def benchmark_digest(benchmark: Benchmark) -> str:
    """SHA-256 of everything a benchmark consists of: tasks, clips, splits, seeds, penalties."""
    content = [
        [[t.name, t.kind, t.group, t.sequence_level] for t in benchmark.tasks],
        [[name, *map(int, rows)] for name, rows in benchmark.clips.items()],
        [list(benchmark.train), list(benchmark.public), list(benchmark.private)],
        list(benchmark.seeds),
        [benchmark.inner_test_size, benchmark.max_width, benchmark.reported_penalty],
        list(benchmark.penalties),
        benchmark.averaged_pattern,
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


@dataclass(frozen=True)
class Source:
    """Where the scores of one level come from and go to.

    Attributes:
        path: Submission or embedding file.
        table: File name of the authors' table.
    """

    path: Path
    table: str


@dataclass
class ResultsFolder:
    """Results of one task in a folder.

    Attributes:
        folder: The folder.
        task: Name of the benchmark, the first word of all file names.
        settings: What the scores depend on besides the level; any JSON values.
        sources: Level -> where it comes from; all that are asked for.
        force: Replace results of other settings.
        sort_levels: Order the levels by their names; else as they are added.
        levels: Level -> what is known of it, of earlier calls too.
        tidy: Tidy rows of all levels.
    """

    folder: Path
    task: str
    settings: dict[str, Any]
    sources: Mapping[str, Source]
    force: bool = False
    sort_levels: bool = True
    levels: dict[str, dict[str, Any]] = field(default_factory=dict)
    tidy: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=list(tables.TIDY_COLUMNS))
    )
    _digests: dict[Path, dict[str, Any]] = field(default_factory=dict)

    @property
    def record_path(self) -> Path:
        """The record."""
        return self.folder / f"{self.task}{RECORD_SUFFIX}"

    @property
    def tidy_path(self) -> Path:
        """The tidy table."""
        return self.folder / f"{self.task}-scores.csv"

    @property
    def figure_path(self) -> Path:
        """The figure."""
        return self.folder / f"{self.task}-levels.png"

    def open(self, others: Sequence[str] = ()) -> list[str]:
        """See what is there already; nothing is written.

        Args:
            others: Names of further files that the caller will write.

        Returns:
            The levels that need no evaluation: same settings, same source, tables complete.

        Raises:
            UserError: Results of other settings or sources are there, and no ``force``.
        """
        record = read_record(self.record_path) if self.record_path.exists() else None
        if record is not None and record["settings"] == self.settings:
            if self.tidy_path.exists():
                self.levels, self.tidy = record["levels"], tables.read_tidy(self.tidy_path)
        elif record is not None:
            changed = _difference(record["settings"], self.settings)
            self._refuse(self.record_path, f"holds results with another {changed}")
        else:
            for path in (self.tidy_path, self.figure_path, *map(self.folder.joinpath, others)):
                if path.exists():
                    self._refuse(path, "is there, but no record of the settings it was made with")
        return [] if self.force else [level for level in self.sources if self._is_done(level)]

    def _is_done(self, level: str) -> bool:
        source, known = self.sources[level], self.levels.get(level)
        path = self.folder / source.table
        if not path.exists():
            return False
        if known is None or known["source"] != self._digest(source.path):
            self._refuse(path, "holds the results of another submission")
        elif known["table"] != file_digest(path):
            self._refuse(path, "was changed since it was written")
        return True

    def _refuse(self, path: Path, why: str) -> None:
        if not self.force:
            raise UserError(f"{path}: {why}; choose another --output-dir, or --force to replace it")

    def add(self, level: str, evaluation: Evaluation) -> None:
        """Write the results of one level; after an interruption those of earlier ones stand."""
        source = self.sources[level]
        content = evaluation.authors.to_csv(index=False).encode()
        digest = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        self.levels[level] = {
            "source": self._digest(source.path),
            "table": {"file": source.table, **digest},
            "published": _published(self.task, evaluation.authors),
            "notes": list(evaluation.notes),
        }
        if self.sort_levels:
            self.levels = dict(sorted(self.levels.items(), key=lambda item: level_order(item[0])))
        kept = self.tidy.loc[self.tidy["level"] != level]
        parts = [kept, evaluation.tidy] if len(kept) else [evaluation.tidy]
        joined = pd.concat(parts, ignore_index=True)[list(tables.TIDY_COLUMNS)]
        rank = {name: position for position, name in enumerate(self.levels)}
        order = np.argsort([rank[name] for name in joined["level"]], kind="stable")
        self.tidy = joined.iloc[order].reset_index(drop=True)
        # The table comes last: what is cut off before it is evaluated again.
        tables.write_tidy(self.tidy, self.tidy_path)
        self.write_record(self.record_path)
        with atomic_path(self.folder / source.table) as temporary:
            temporary.write_bytes(content)

    def record(self) -> dict[str, Any]:
        """The record as JSON values: settings, and per level the summaries."""
        return {
            "format": FORMAT,
            "task": self.task,
            "settings": self.settings,
            "levels": self.levels,
            "as published": _plain(group_means(self.tidy, PUBLISHED)),
            "corrected": _plain(group_means(self.tidy, CORRECTED)),
        }

    def write_record(self, path: Path) -> Path:
        """Write the record to its place, or to another."""
        with atomic_path(path) as temporary:
            text = json.dumps(self.record(), indent=1, ensure_ascii=False, allow_nan=False)
            temporary.write_text(text + "\n", encoding="utf-8")
        return path

    def _digest(self, path: Path) -> dict[str, Any]:
        if path not in self._digests:
            self._digests[path] = file_digest(path)
        return self._digests[path]


def read_record(path: Path) -> dict[str, Any]:
    """Read a record.

    Raises:
        UserError: Not a record.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a record of results ({error}); evaluate again") from error
    if not isinstance(record, dict) or not {"task", "settings", "levels"} <= set(record):
        raise UserError(f"{path}: not a record of results; evaluate again")
    return record


def _published(task: str, authors: pd.DataFrame) -> dict[str, Any]:
    """What the original prints; of a user's own labels nothing was published."""
    return {} if task == CUSTOM else published_summary(task, authors)


def _difference(old: Any, new: Mapping[str, Any]) -> str:
    """The first setting that differs, in words."""
    name = next((key for key in new if not isinstance(old, dict) or old.get(key) != new[key]), None)
    if name is None:
        return "set of settings"
    values = [
        value[name] if isinstance(value, dict) and name in value else None for value in (old, new)
    ]
    if any(isinstance(value, dict) or len(str(value)) > 40 for value in values):
        return {"labels": "label file"}.get(name, name.replace("_", " "))
    return f"{name.replace('_', ' ')} ({values[0]}, now {values[1]})"


def _plain(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON values; what is not a number becomes null."""
    rows: Sequence[dict[Any, Any]] = table.to_dict("records")
    return [{key: None if v != v else v for key, v in row.items()} for row in rows]
