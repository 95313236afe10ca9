"""What was measured, as a table, as JSON, as a plot, and as a section of docs/measurements.md. Called by the driver."""

from __future__ import annotations

import dataclasses
import datetime
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpu.pairs import Outcome
from gpu.sides import HOOKED, NATIVE, SIDES
from gpu.startup import Starts

MIB = 1 << 20
# Where the plot's axis of ratios may have a mark.
TICKS = (0.25, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile; of one value that value."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def overall(outcomes: Sequence[Outcome]) -> float | None:
    """Geometric mean of the median ratios; None if there are none."""
    medians = [statistics.median(o.ratios) for o in outcomes if o.ratios and not o.bytes_per_step]
    return statistics.geometric_mean(medians) if medians else None


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _bits(outcome: Outcome) -> str:
    if outcome.equal:
        return "equal" if outcome.repeats else "equal, once"
    return "differ" if outcome.repeats else "native varies"


def table(outcomes: Sequence[Outcome]) -> str:
    """A row for each workload that has figures."""
    lines = [
        "| workload | native, ms | hooked, ms | ratio | quartiles | client CPU, ms: native, hooked "
        "| ready after, s: native, hooked | RSS, MiB: native, hooked, worker | bits |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for o in outcomes:
        if not o.ratios:
            continue
        low, middle, high = quartiles(o.ratios)
        title = f"`{o.name}`: {o.title}"
        if o.bytes_per_step:
            rates = (o.bytes_per_step / statistics.median(o.ms[side]) / 1e6 for side in SIDES)
            title += " ({:.1f}, {:.1f} GB/s)".format(*rates)
        rss = (o.memory.get(who, {}).get("rss", 0) / MIB for who in (*SIDES, "worker"))
        cells = [
            title,
            *(_number(statistics.median(o.ms[side])) for side in SIDES),
            f"{middle:.2f}",
            f"{low:.2f} to {high:.2f}",
            ", ".join(_number(statistics.median(o.cpu_ms[side])) for side in SIDES),
            ", ".join(f"{o.ready_s[side]:.1f}" for side in SIDES),
            ", ".join(f"{value:.0f}" if value else "-" for value in rss),
            _bits(o),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def without_figures(outcomes: Sequence[Outcome], skipped: Sequence[str]) -> str:
    """A line for each workload that failed, is not available, or did not fit the time."""
    lines = []
    for o in outcomes:
        if o.error:
            lines.append(f"* `{o.name}` failed: {o.error}")
        elif o.unavailable:
            lines.append(f"* `{o.name}` is not available: {o.unavailable}")
    if skipped:
        lines.append(f"* Not run, for want of time: {', '.join(f'`{name}`' for name in skipped)}")
    return "\n".join(lines)


def starts_table(all_starts: Sequence[Starts]) -> str:
    """Time to the first result, and memory."""
    lines = [
        "| first result of a fresh process | native, ms | hooked, ms | ratio | quartiles | RSS it brings, MiB: native, "
        "hooked | of it library, shared mappings (their part) | RSS of the worker, MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    failures = []
    for s in all_starts:
        ratios = [h / n for n, h in zip(s.first_ms[NATIVE], s.first_ms[HOOKED], strict=False)]
        if s.error:
            failures.append(f"* The first result with {s.name} failed: {s.error}")
        if not ratios:
            continue
        low, middle, high = quartiles(ratios)
        added = (f"{(s.memory[side]['rss'] - s.memory[side]['before_rss']) / MIB:.1f}" for side in SIDES)
        hooked = s.memory[HOOKED]
        parts = f"{hooked['hook_library_rss'] / MIB:.1f}, {hooked['shared_rss'] / MIB:.1f} "
        parts += f"({hooked['shared_pss'] / MIB:.1f})"
        worker = s.memory.get("worker", {}).get("rss", 0) / MIB
        cells = [
            {"driver": "driver alone", "torch": "`torch.ones(1).cuda().item()`"}.get(s.name, s.name),
            *(_number(statistics.median(s.first_ms[side])) for side in SIDES),
            f"{middle:.2f}",
            f"{low:.2f} to {high:.2f}",
            ", ".join(added),
            parts,
            f"{worker:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    text = "\n".join(lines) if len(lines) > 2 else ""
    return "\n\n".join(part for part in (text, "\n".join(failures)) if part)


def summary(outcomes: Sequence[Outcome]) -> str:
    """One sentence on all of them."""
    mean = overall(outcomes)
    measured = [o for o in outcomes if o.ratios]
    if mean is None:
        return "No workload has figures."
    fixed = [o for o in measured if o.repeats]
    same = sum(o.equal for o in fixed)
    return (
        f"Geometric mean of the median ratios, copies left out: {mean:.3f}. Of {len(measured)} workloads "
        f"{len(fixed)} repeat themselves natively to the last bit; {same} of these give the same bits when hooked."
    )


def as_json(
    machine: dict[str, str], outcomes: Sequence[Outcome], starts: Sequence[Starts], skipped: Sequence[str]
) -> dict[str, Any]:
    """Everything, unrounded."""
    rows = []
    for o in outcomes:
        row = dataclasses.asdict(o) | {"ratios": o.ratios, "repeats": o.repeats, "equal": o.equal}
        if o.ratios:
            low, middle, high = quartiles(o.ratios)
            row["ratio"] = {"median": middle, "lower_quartile": low, "upper_quartile": high}
        rows.append(row)
    return {
        "machine": machine,
        "geometric_mean": overall(outcomes),
        "workloads": rows,
        "starts": [dataclasses.asdict(s) for s in starts],
        "skipped": list(skipped),
    }


def plot(outcomes: Sequence[Outcome], file: Path, title: str) -> str:
    """Draws every pair's ratio and the medians; "" or why there is no plot."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        # The same figures shall make the same file, and text shall be text.
        matplotlib.rcParams.update({"svg.hashsalt": "bench-gpu", "svg.fonttype": "none"})
        from matplotlib import pyplot
    except ImportError as error:
        return f"matplotlib is missing: {error}"
    shown = sorted((o for o in outcomes if o.ratios), key=lambda o: statistics.median(o.ratios))
    if not shown:
        return "there are no figures"
    figure, axes = pyplot.subplots(figsize=(8, 0.8 + 0.27 * len(shown)), layout="constrained")
    for y, o in enumerate(shown):
        low, middle, high = quartiles(o.ratios)
        axes.plot([low, high], [y, y], color="#9db7d5", linewidth=6, solid_capstyle="butt", zorder=1)
        axes.scatter(o.ratios, [y] * len(o.ratios), color="#1f4e79", s=7, zorder=2, linewidths=0)
        axes.plot([middle, middle], [y - 0.35, y + 0.35], color="#c0392b", linewidth=2, zorder=3)
    axes.axvline(1.0, color="black", linewidth=0.8, zorder=0)
    axes.set_yticks(range(len(shown)), [o.name for o in shown])
    axes.set_xscale("log")
    shortest, longest = min(min(o.ratios) for o in shown), max(max(o.ratios) for o in shown)
    ticks = [t for t in TICKS if shortest * 0.9 < t < longest * 1.1]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.grid(axis="x", linewidth=0.3)
    axes.set_xlabel("time of a step, hooked / native: every pair, quartiles, median")
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
    today = datetime.date.today().isoformat()
    head = f"## Programs, native and hooked in turn, {today}"
    where = f"{machine['gpu']}; {machine['host']}. {machine['versions']}. {conditions}"
    drawn = f"![Hooked over native, by workload]({picture})" if picture else ""
    return "\n\n".join(part for part in (head, where, *parts, drawn) if part) + "\n"


def record(file: Path, text: str) -> None:
    """Adds a section."""
    with file.open("a", encoding="utf-8") as out:
        out.write("\n" + text)


def progress_line(o: Outcome, seconds: float) -> str:
    """What is said as soon as a workload is done."""
    if o.error:
        said = f"failed: {o.error}"
    elif o.unavailable:
        said = f"not available: {o.unavailable}"
    else:
        low, middle, high = quartiles(o.ratios)
        times = " / ".join(_number(statistics.median(o.ms[side])) for side in SIDES)
        said = f"{times} ms, ratio {middle:.3f} ({low:.3f} to {high:.3f}), {_bits(o)}"
    return f"{o.name:<20} {said}  [{seconds:.0f} s]"
