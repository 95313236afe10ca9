"""What is known of GPU servers and slices, and how the browser sees it: as JSON values, and as what has changed.

The server extension feeds it on the event loop: messages of the GPU servers, and the records of kernels' slices. It
knows no network, no threads and no Jupyter. Times are time.monotonic().
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gpu_server.client import Gpu, Slice, StateChange
from jupyter_tfusion.daemon_link import STOPPED
from jupyter_tfusion.leases import Record

Json = dict[str, Any]

ENDED = "ended"
UNKNOWN_SLICE = (
    "The GPU server does not know this kernel's slice any more. Restart the kernel to get a new one."
)
RESTART = "Restart the kernel to use the GPU again."
UTILIZATION_STEP = 5
DEADLINE_STEP_S = 5.0

_GPU_FIELDS = (
    *("uuid", "name", "software", "memory_bytes", "reserved_bytes", "used_bytes"),
    *("utilization_percent", "waiting"),
)
_SLICE_FIELDS = (
    *("slice_id", "kernel_id", "name", "owner", "gpu_uuid", "vram_bytes", "used_bytes", "resident_bytes"),
    *("swapped_bytes", "phase", "place", "why", "gpu_s", "waited_s", "sessions", "share", "ceiling", "age_s"),
    *("idle_s", "ends_in_s"),
)


@dataclass
class Daemon:
    """One GPU server as its last messages say. ``sentence`` says why it is not connected."""

    connected: bool = False
    sentence: str = ""
    gpus: list[Gpu] = field(default_factory=list)
    slices: dict[str, tuple[float, Slice]] = field(default_factory=dict)
    """By id, with the time at which each was told."""


class View:
    """All GPU servers. ``records`` gives the slices of this server's kernels."""

    def __init__(
        self, main: Path, records: Callable[[], Iterable[Record]], clock: Callable[[], float]
    ) -> None:
        self._main = main
        self._records = records
        self._clock = clock
        self.daemons: dict[Path, Daemon] = {}
        self._last: dict[str, Slice] = {}  # what was last known of slices of ours
        self._ends: dict[str, str] = {}  # why slices of ours have ended, as the GPU server says it

    # -- what comes in

    def take(self, socket: Path, change: StateChange) -> None:
        """A message of a GPU server."""
        daemon = self.daemons.setdefault(socket, Daemon())
        daemon.connected, daemon.sentence = True, ""
        if change.full:
            daemon.slices.clear()
        if change.gpus:
            daemon.gpus = change.gpus
        now = self._clock()
        daemon.slices.update({s.slice_id: (now, s) for s in change.slices})
        ours = {record.slice_id for record in self._records()}
        for s in change.slices:
            self._ends.pop(s.slice_id, None)
            if s.slice_id in ours:
                self._last[s.slice_id] = s
        for slice_id in change.gone:
            daemon.slices.pop(slice_id, None)

    def lose(self, socket: Path, sentence: str) -> None:
        """A GPU server does not answer (any more). When it has stopped its slices are gone with it."""
        if sentence == STOPPED and socket in self.daemons:
            for record in self._records():
                if record.slice_id in self.daemons[socket].slices:
                    self._ends.setdefault(record.slice_id, f"{STOPPED} {RESTART}")
        self.daemons[socket] = Daemon(sentence=sentence)

    def note_end(self, slice_id: str, sentence: str) -> None:
        """A GPU server says why a slice of ours has ended."""
        self._ends[slice_id] = sentence

    def forget(self, socket: Path) -> None:
        """A GPU server is of no interest any more."""
        self.daemons.pop(socket, None)

    # -- what this server's users see

    def server(self) -> Json:
        """Whether the GPU servers that matter answer: those of kernels, or else the one that kernels would use."""
        needed = {record.lease.client.socket for record in self._records()} or {self._main}
        for socket in sorted(needed):
            daemon = self.daemons.get(socket)
            if daemon is None:
                return {"connected": False, "sentence": "The GPU server has not answered yet."}
            if not daemon.connected:
                return {"connected": False, "sentence": daemon.sentence}
        return {"connected": True, "sentence": ""}

    def gpus(self) -> list[Json]:
        """All GPUs of all GPU servers."""
        return [
            {name: getattr(gpu, name) for name in _GPU_FIELDS}
            for daemon in self.daemons.values()
            for gpu in daemon.gpus
        ]

    def own_slices(self) -> list[Json]:
        """The slices of this server's kernels; those that are gone say why."""
        shown = []
        records = list(self._records())
        for record in records:
            told_at, known = self._known(record)
            shown.append(self._slice(told_at, replace(known, kernel_id=record.kernel_id)))
        ours = {record.slice_id for record in records}
        self._last = {slice_id: s for slice_id, s in self._last.items() if slice_id in ours}
        self._ends = {slice_id: why for slice_id, why in self._ends.items() if slice_id in ours}
        return shown

    def _known(self, record: Record) -> tuple[float, Slice]:
        now = self._clock()
        daemon = self.daemons.get(record.lease.client.socket)
        told = daemon.slices.get(record.slice_id) if daemon is not None else None
        if told is not None and not record.ended:
            told_at, known = told
            self._last[record.slice_id] = known
            if known.phase == ENDED and told_at - known.ended_s < record.launched_at:
                known = replace(known, phase="idle", why="")  # of the process before the restart
            return told_at, known
        known = self._last.get(record.slice_id) or _just_opened(record, now)
        why = self._ends.get(record.slice_id) or record.ended
        if not why and record.slice_id not in self._last:
            return now, known  # the GPU server has not told of it yet
        if not why:
            why = daemon.sentence if daemon is not None and not daemon.connected else UNKNOWN_SLICE
        return now, replace(
            known,
            phase=ENDED,
            why=why,
            used_bytes=0,
            resident_bytes=0,
            swapped_bytes=0,
            sessions=0,
            place=0,
            ends_in_s=-1.0,
        )

    # -- what the teacher sees

    def all_slices(self) -> list[Json]:
        """Everybody's slices on all GPU servers, those with most memory on the GPU first."""
        slices = [
            self._slice(told_at, s)
            for daemon in self.daemons.values()
            for told_at, s in daemon.slices.values()
        ]
        return sorted(slices, key=lambda s: (-s["resident_bytes"], -s["gpu_s"], s["slice_id"]))

    def socket_of(self, slice_id: str) -> Path | None:
        """The GPU server that has an open slice of this id."""
        return next((socket for socket, daemon in self.daemons.items() if slice_id in daemon.slices), None)

    # -- inside

    def _slice(self, told_at: float, s: Slice) -> Json:
        """As the contract with the browser has it; what time alone has changed since it was told is added."""
        since = self._clock() - told_at
        shown = {name: getattr(s, name) for name in _SLICE_FIELDS}
        shown["age_s"] += since
        if shown["idle_s"] > 0.0:
            shown["idle_s"] += since
        if shown["ends_in_s"] >= 0.0:
            shown["ends_in_s"] = max(0.0, shown["ends_in_s"] - since)
        return shown


def _just_opened(record: Record, now: float) -> Slice:
    opened = record.lease.opened
    return Slice(
        slice_id=opened.slice_id,
        name="",
        owner="",
        kernel_id=record.kernel_id,
        gpu_uuid=opened.gpu.uuid,
        vram_bytes=opened.vram_bytes,
        used_bytes=0,
        share=1.0,
        age_s=max(0.0, now - record.launched_at),
        expires_in_s=opened.time_to_live_s,
        sessions=0,
        ceiling=0.0,
        resident_bytes=0,
        swapped_bytes=0,
        phase="idle",
        place=0,
        why="",
        gpu_s=0.0,
        waited_s=0.0,
        idle_s=0.0,
        ends_in_s=-1.0,
        ended_s=0.0,
    )


class Difference:
    """Tells what has changed for the browser since it was asked last."""

    def __init__(self) -> None:
        self._server: Json = {}
        self._gpus: list[tuple[Any, ...]] = []
        self._slices: dict[str, tuple[Any, ...]] = {}

    def of(self, view: View, host_changed: bool, now: float) -> Json | None:
        """The event's data; None if there is nothing to say."""
        server, gpus, slices = view.server(), view.gpus(), view.own_slices()
        seen = {s["slice_id"]: _seen(s, now) for s in slices}
        gpus_seen = [_gpu_seen(gpu) for gpu in gpus]
        changed = [s for s in slices if self._slices.get(s["slice_id"]) != seen[s["slice_id"]]]
        gone = [slice_id for slice_id in self._slices if slice_id not in seen]
        if not (changed or gone or host_changed or server != self._server or gpus_seen != self._gpus):
            return None
        self._server, self._gpus, self._slices = server, gpus_seen, seen
        return {"server": server, "gpus": gpus, "slices": changed, "gone": gone, "host_changed": host_changed}


def _seen(s: Json, now: float) -> tuple[Any, ...]:
    """What people see of a slice, but for what time alone changes."""
    ends = round((now + s["ends_in_s"]) / DEADLINE_STEP_S) if s["ends_in_s"] >= 0.0 else None
    return (
        s["kernel_id"], s["name"], s["phase"], s["place"], s["why"], s["sessions"], s["vram_bytes"], s["used_bytes"],
        s["resident_bytes"], s["swapped_bytes"], int(s["gpu_s"]), int(s["waited_s"]), s["idle_s"] == 0.0, ends,
    )  # fmt: skip


def _gpu_seen(gpu: Json) -> tuple[Any, ...]:
    utilization = round(gpu["utilization_percent"] / UTILIZATION_STEP)
    return (gpu["uuid"], gpu["reserved_bytes"], gpu["used_bytes"], gpu["waiting"], utilization)


def story(entries: Iterable[Any]) -> Json:
    """What was decided about a slice."""
    return {"entries": [{"age_s": entry.age_s, "sentence": entry.sentence} for entry in entries]}
