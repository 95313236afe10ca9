"""What was measured, as a table, as JSON, as a plot, and as a section of docs/measurements.md. For the command."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sharing.rows import Outcome, Row, percentile


def number(value: float) -> str:
    """With as many digits as mean something."""
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(outcomes: Sequence[Outcome]) -> str:
    """A row for each figure."""
    lines = [
        "| experiment | what | figure | median | spread | repeats | target | met | remarks |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in (row for outcome in outcomes for row in outcome.rows if row.values):
        unit = f" {row.unit}" if row.unit else ""
        sign = "at least" if row.at_least else "at most"
        remarks = "; ".join(part for part in (row.remark, row.error) if part)
        cells = [
            f"`{row.experiment}`",
            row.what,
            f"{number(row.figure or 0.0)}{unit}",
            number(percentile(row.values, 50)),
            f"{number(min(row.values))} to {number(max(row.values))}",
            str(len(row.values)),
            "" if row.target is None else f"{sign} {number(row.target)}{unit}",
            {True: "yes", False: "no", None: ""}[row.met],
            remarks,
        ]
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(lines)


def without_figures(outcomes: Sequence[Outcome], skipped: Sequence[str]) -> str:
    """A line for each thing that gave no figures."""
    lines = [
        f"* `{row.experiment}`, {row.what}: {row.error or row.remark}"
        for outcome in outcomes
        for row in outcome.rows
        if not row.values
    ]
    if skipped:
        lines.append(f"* Not run, for want of time: {', '.join(f'`{name}`' for name in skipped)}")
    return "\n".join(lines)


def progress(row: Row) -> str:
    """What is said as soon as an experiment is done."""
    if not row.values:
        return f"    {row.what}: {row.error or row.remark}"
    met = {True: ", target met", False: ", target MISSED", None: ""}[row.met]
    trouble = f"; {row.error}" if row.error else ""
    return f"    {row.what}: {number(row.figure or 0.0)} {row.unit}{met} ({row.remark}){trouble}"


def as_json(
    machine: dict[str, str], options: dict[str, Any], outcomes: Sequence[Outcome], skipped: Sequence[str]
) -> dict[str, Any]:
    """Everything, unrounded."""
    experiments = []
    for outcome in outcomes:
        made = dataclasses.asdict(outcome)
        for shown, row in zip(made["rows"], outcome.rows, strict=True):
            shown.update(figure=row.figure, met=row.met)
        experiments.append(made)
    return {"machine": machine, "options": options, "experiments": experiments, "skipped": list(skipped)}


def plot(outcomes: Sequence[Outcome], file: Path, title: str) -> str:
    """Draws how long the cells of the class waited; "" or why there is no plot."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        # The same figures shall make the same file, and text shall be text.
        matplotlib.rcParams.update({"svg.hashsalt": "bench-sharing", "svg.fonttype": "none"})
        from matplotlib import pyplot
    except ImportError as error:
        return f"matplotlib is missing: {error}"
    waits = next((o.seen["waits_s"] for o in outcomes if o.name == "class" and o.seen.get("waits_s")), None)
    if not waits:
        return "there are no figures of a class"
    edges = [0.0, *(0.001 * 2**i for i in range(15))]  # 1 ms to 16 s
    edges = [e for i, e in enumerate(edges) if i < 2 or edges[i - 1] < max(waits)]
    counts = [sum(low <= w < high for w in waits) for low, high in itertools.pairwise(edges)]
    counts[-1] += sum(w >= edges[-1] for w in waits)
    figure, axes = pyplot.subplots(figsize=(8, 3.2), layout="constrained")
    axes.bar(range(len(counts)), [100 * n / len(waits) for n in counts], color="#1f4e79", width=0.9)
    axes.set_xticks(
        [i - 0.5 for i in range(len(edges))], [f"{e * 1e3:g}" if e < 1 else f"{e:.3g} s" for e in edges]
    )
    for percent, colour in ((50, "#c0392b"), (90, "#e08e0b"), (99, "#6c3483")):
        wait = percentile(waits, percent)
        bar = max(i for i, e in enumerate(edges[:-1]) if e <= wait)
        part = min(1.0, (wait - edges[bar]) / (edges[bar + 1] - edges[bar]))
        label = f"p{percent}: {number(wait * 1e3)} ms"
        axes.axvline(bar - 0.5 + part, color=colour, linewidth=1.5, label=label)
    axes.legend(frameon=False, fontsize=9)
    axes.set_xlabel("wait of a cell for others: its time less its median alone, ms")
    axes.set_ylabel(f"% of {len(waits)} cells")
    axes.set_title(title, fontsize=10)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
    if file.suffix == ".svg":  # matplotlib ends some lines with a blank
        text = file.read_text(encoding="utf-8")
        file.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n", encoding="utf-8")
    return ""


def section(machine: dict[str, str], conditions: str, parts: Sequence[str], picture: str) -> str:
    """The section for docs/measurements.md. `picture` is a path relative to docs/, or empty."""
    head = f"## One GPU, several slices, {datetime.date.today().isoformat()}"
    where = f"{machine['gpu']}; {machine['host']}. {machine['versions']}. {conditions}"
    drawn = f"![How long the cells of a class wait]({picture})" if picture else ""
    return "\n\n".join(part for part in (head, where, *parts, drawn) if part) + "\n"
