"""How a slice, and what one cell used of it, look in a notebook: as plain text and as a small HTML card.

Made by the magics (magics.py) of what the daemon says (gpu_server/observer.py). Names come from programs and
notebooks, so everything is escaped. Colours are JupyterLab's where they are known, so that light and dark fit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from gpu_server.observation import MOST_TELLING, Observation
from gpu_server.sizes import format_size

_NO_SESSION = "no program uses the GPU at the moment"

_CARD = (
    "border:1px solid var(--jp-border-color2,#bdbdbd);border-radius:4px;padding:8px 12px;max-width:36em;"
    "color:var(--jp-ui-font-color1,inherit);background:var(--jp-layout-color1,transparent);"
    "font-family:var(--jp-ui-font-family,sans-serif);font-size:var(--jp-ui-font-size1,13px);line-height:1.5"
)
_TRACK = "display:flex;height:10px;margin:4px 0;background:var(--jp-layout-color3,#e0e0e0);border-radius:2px"
_RESIDENT = "background:var(--jp-brand-color1,#1976d2)"
_SWAPPED = "background:var(--jp-warn-color1,#ef6c00)"
_TABLE = "margin:0;color:inherit;font-size:inherit"
_CELL = "padding:0 12px 0 0;text-align:left"


@dataclass(frozen=True)
class SliceCard:
    """A slice at one moment; shown by IPython."""

    slice: Observation

    @property
    def resident_bytes(self) -> int:
        """Its memory on the GPU."""
        return sum(session.resident_bytes for session in self.slice.sessions)

    @property
    def swapped_bytes(self) -> int:
        """Its memory that lies on the host meanwhile."""
        return sum(session.swapped_bytes for session in self.slice.sessions)

    @property
    def state(self) -> str:
        """What the slice does now, in words."""
        sessions = self.slice.sessions
        phase = next((p for p in MOST_TELLING if any(s.phase == p for s in sessions)), _NO_SESSION)
        if phase == "waiting":
            return _with_place(phase, [s.place for s in sessions if s.place])
        return phase

    def rows(self) -> list[tuple[str, str]]:
        """What is said of the slice: title and text."""
        s = self.slice
        memory = f"{format_size(s.used_bytes)} of {format_size(s.limit_bytes)} in use"
        if s.used_bytes:
            memory += f": {format_size(self.resident_bytes)} on the GPU"
            memory += f", {format_size(self.swapped_bytes)} swapped out" if self.swapped_bytes else ""
        time = f"{format_seconds(s.gpu_ns)} of GPU time, {format_seconds(s.waited_ns)} waited"
        return [
            ("Slice", s.slice_name),
            ("GPU", s.name),
            ("Memory", memory),
            ("State", self.state),
            ("Time", f"{time}, in {format_seconds(s.age_ns)} since it was opened"),
        ]

    def processes(self) -> list[tuple[str, ...]]:
        """A row for each process: id, name, memory, state, how busy it kept the GPU lately."""
        return [
            (
                str(s.pid),
                s.name,
                format_size(s.used_bytes),
                _with_place(s.phase, [s.place] if s.place else []),
                f"{s.busy_percent} %",
            )
            for s in self.slice.sessions
        ]

    def __repr__(self) -> str:
        """As plain text."""
        lines = [f"{title + ':':<9}{text}" for title, text in self.rows()]
        for row in self.processes():
            lines.append("Process: " + "  ".join(row))
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """As a card, for notebooks."""
        s = self.slice
        parts = (
            (self.resident_bytes, _RESIDENT, "on the GPU"),
            (self.swapped_bytes, _SWAPPED, "swapped out"),
        )
        bar = "".join(
            f'<span title="{format_size(size)} {what}" style="width:{_percent(size, s.limit_bytes)};{style}"></span>'
            for size, style, what in parts
            if size
        )
        meter = (
            f'<div role="meter" aria-label="GPU memory in use" aria-valuemin="0" aria-valuemax="{s.limit_bytes}" '
            f'aria-valuenow="{s.used_bytes}" aria-valuetext="{escape(dict(self.rows())["Memory"])}" '
            f'style="{_TRACK}">{bar}</div>'
        )
        card = _table(self.rows()) + meter
        if s.sessions:
            card += _processes_table(self.processes())
        return f'<div style="{_CARD}">{card}</div>'


@dataclass(frozen=True)
class CellUse:
    """What one cell used; shown by IPython. Bytes of the slice, by all its processes; ``peak_bytes`` is None where
    more measurements than the daemon keeps were begun meanwhile."""

    wall_ns: int
    gpu_ns: int
    waited_ns: int
    before_bytes: int
    peak_bytes: int | None
    swapped_out_bytes: int
    swapped_in_bytes: int

    def rows(self) -> list[tuple[str, str]]:
        """What is said of the cell: title and text."""
        if self.peak_bytes is None:
            peak = "not known, as many measurements ran at once"
        else:
            more = max(0, self.peak_bytes - self.before_bytes)
            peak = (
                f"{format_size(self.peak_bytes)} at the most, {format_size(more)} more than before the cell"
            )
        swapped = f"{format_size(self.swapped_out_bytes)} out, {format_size(self.swapped_in_bytes)} in"
        return [
            ("GPU time", f"{format_seconds(self.gpu_ns)} of {format_seconds(self.wall_ns)} in all"),
            ("Waited", f"{format_seconds(self.waited_ns)} for the GPU"),
            ("Memory", peak),
            ("Swapped", swapped),
        ]

    def __repr__(self) -> str:
        """As plain text."""
        return "\n".join(f"{title + ':':<10}{text}" for title, text in self.rows())

    def _repr_html_(self) -> str:
        """As a card, for notebooks."""
        return f'<div style="{_CARD}">{_table(self.rows())}</div>'


def cell_use(before: Observation, after: Observation, wall_ns: int) -> CellUse:
    """What the slice had between two questions, the first of which set a mark."""
    return CellUse(
        wall_ns,
        max(0, after.gpu_ns - before.gpu_ns),
        max(0, after.waited_ns - before.waited_ns),
        before.used_bytes,
        after.peak_since(before.mark),
        max(0, after.swapped_out_bytes - before.swapped_out_bytes),
        max(0, after.swapped_in_bytes - before.swapped_in_bytes),
    )


def format_seconds(ns: int) -> str:
    """A time for people: "3.21 ms", "1.50 s", "2 min 5 s", "3 h 20 min"."""
    s = ns / 1e9
    if s < 1:
        return f"{ns / 1e6:.3g} ms"
    if s < 60:
        return f"{s:.2f} s"
    minutes, seconds = divmod(round(s), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _with_place(phase: str, places: list[int]) -> str:
    if not places:
        return phase
    return f"{phase}: {'next' if min(places) == 1 else f'place {min(places)}'}"


def _percent(part: int, whole: int) -> str:
    return f"{100 * min(part, whole) / max(1, whole):.2f}%"


def _table(rows: Iterable[tuple[str, str]]) -> str:
    body = "".join(
        f'<tr style="background:none"><th scope="row" style="{_CELL}">{escape(title)}</th>'
        f'<td style="{_CELL}">{escape(text)}</td></tr>'
        for title, text in rows
    )
    return f'<table style="{_TABLE}">{body}</table>'


def _processes_table(rows: Iterable[tuple[str, ...]]) -> str:
    head = "".join(
        f'<th scope="col" style="{_CELL}">{title}</th>'
        for title in ("Process", "Name", "Memory", "State", "GPU busy")
    )
    body = "".join(
        '<tr style="background:none">'
        + "".join(f'<td style="{_CELL}">{escape(text)}</td>' for text in row)
        + "</tr>"
        for row in rows
    )
    return f'<table style="{_TABLE}"><tr style="background:none">{head}</tr>{body}</table>'
