"""One row of the table: figures of one kind, with their target. Made by the experiments, read by report.py."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Row:
    """`values` are the repeats; of them the median counts, or `decides`. `target` is a limit: at least or at most."""

    experiment: str
    what: str
    unit: str = ""
    values: list[float] = field(default_factory=list)
    target: float | None = None
    at_least: bool = False
    decides: str = "median"
    remark: str = ""
    error: str = ""
    """Why there are no figures, or not all."""

    @property
    def figure(self) -> float | None:
        """What is held against the target."""
        if not self.values:
            return None
        return percentile(self.values, {"median": 50, "p99": 99, "max": 100}[self.decides])

    @property
    def met(self) -> bool | None:
        """Whether the target is; None without one, or without figures."""
        if self.target is None or self.figure is None:
            return None
        return self.figure >= self.target if self.at_least else self.figure <= self.target


@dataclass
class Outcome:
    """What an experiment gives: its rows, and everything else that was seen, for the JSON file."""

    name: str
    rows: list[Row] = field(default_factory=list)
    seen: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def row(self, what: str, unit: str, values: Sequence[float], **more: Any) -> Row:
        """Adds one."""
        self.rows.append(Row(self.name, what, unit, list(values), **more))
        return self.rows[-1]

    def failed(self, what: str, error: str) -> None:
        """Adds a row without figures."""
        self.rows.append(Row(self.name, what, error=error))


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent of them do not exceed; the median as usual. Precondition: there are values."""
    if percent == 50:
        return statistics.median(values)
    ranked = sorted(values)
    return ranked[max(0, -(-len(ranked) * int(percent) // 100) - 1)]


def counted(samples: Sequence[Sequence[float]], begin: float, end: float) -> float:
    """Kernels done between two moments, from (moment, done so far); between two samples work went on evenly."""
    return _at(samples, end) - _at(samples, begin)


def _at(samples: Sequence[Sequence[float]], moment: float) -> float:
    before = samples[0]
    for sample in samples:
        if sample[0] >= moment:
            span = sample[0] - before[0]
            part = (moment - before[0]) / span if span > 0 else 0.0
            return float(before[1] + part * (sample[1] - before[1]))
        before = sample
    return float(before[1])
