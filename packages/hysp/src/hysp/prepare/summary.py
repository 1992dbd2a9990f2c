"""What a preparation kept, dropped, and why: for the screen."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from hysp.data.prepared import DROPPED, SAMPLES


@dataclass(frozen=True)
class Summary:
    """Result of a preparation.

    Attributes:
        folder: Output folder.
        samples: Table of the samples kept.
        dropped: Name, reason and file of those left out.
        benchmarks: Columns of ``samples`` that say train or val.
        notes: What else the user should know.
    """

    folder: Path
    samples: pd.DataFrame
    dropped: pd.DataFrame
    benchmarks: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Counts per benchmark and per reason, as a table in plain text."""
        lines = [f"{len(self.samples)} samples in {self.folder} ({SAMPLES})"]
        lines += [f"  {name}: {self._sides(name)}" for name in self.benchmarks]
        lines.append(
            f"{len(self.dropped)} left out" + (f" ({DROPPED})" if len(self.dropped) else "")
        )
        reasons = self.dropped["reason"].value_counts()
        lines += [f"  {count:>7}  {reason}" for reason, count in reasons.items()]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def _sides(self, benchmark: str) -> str:
        sides = self.samples[benchmark].tolist()
        text = ", ".join(f"{sides.count(side)} {side}" for side in ("train", "val"))
        neither = sides.count("")
        return text + (f", {neither} in neither list" if neither else "")
