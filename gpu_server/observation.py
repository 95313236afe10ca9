"""The structs of kernel_hook/protocol/observation.hpp for Python: what an observer is told of its slice.

Made by the session manager for each question, read by gpu_server/observer.py. Little-endian, no padding;
tests/unit/daemon/test_observation.py compiles the header and compares the two.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FACTS = struct.Struct("<256sQiiIIIIII")
HEAD = struct.Struct("<QII64s128s5Q8Q")
ROW = struct.Struct("<IIQQQQQQIIII64s")
MAX_ROWS = 64
MARKS = 8
# In the order of SessionPhase in the header; the words are those of gpu_server.scheduler.Phase.
PHASES = ("idle", "running", "waiting", "swapping in", "swapping out", "swapped out")
# Of a slice with several sessions, the first of these that any of them has says what the slice does.
MOST_TELLING = ("running", "swapping in", "waiting", "swapping out", "idle", "swapped out")
SIZE_BYTES = FACTS.size + HEAD.size + MAX_ROWS * ROW.size

_BUS_ID = re.compile(r"([0-9a-fA-F]{4,8}):([0-9a-fA-F]{2}):([0-9a-fA-F]{2})\.0\Z")


@dataclass(frozen=True)
class ObservedSession:
    """One session of the slice. ``sampled_us`` is the Unix time at the end of the period of ``busy_percent``.

    ``used_bytes`` is what it holds, of which ``resident_bytes`` are on the GPU and ``swapped_bytes`` on the host;
    ``waited_ns`` is of waits that are over; ``place`` is 1 for the next of those that wait, 0 for who does not.
    """

    pid: int
    busy_percent: int
    used_bytes: int
    sampled_us: int
    name: str
    resident_bytes: int = 0
    swapped_bytes: int = 0
    gpu_ns: int = 0
    waited_ns: int = 0
    phase: str = PHASES[0]
    place: int = 0
    busy: bool = False


@dataclass(frozen=True)
class Observation:
    """A slice at one moment. ``gpu`` holds a worker's facts about the GPU, none before a worker has opened it.

    ``gpu_ns`` and what follows it count since the slice was opened, sessions that are over included. ``peak_bytes``:
    the most that was used since the last mark, whose number is ``mark``, since the one before, and so on.
    """

    name: str
    driver_version: str
    limit_bytes: int
    used_bytes: int
    gpu: Mapping[str, Any]
    sessions: Sequence[ObservedSession]
    slice_name: str = ""
    age_ns: int = 0
    gpu_ns: int = 0
    waited_ns: int = 0
    swapped_out_bytes: int = 0
    swapped_in_bytes: int = 0
    mark: int = 0
    peak_bytes: Sequence[int] = ()

    def peak_since(self, mark: int) -> int | None:
        """The most memory that was used at one time since the mark of that number; None if that is forgotten."""
        back = self.mark - mark
        return self.peak_bytes[back] if 0 <= back < len(self.peak_bytes) else None

    def pack(self) -> bytes:
        """The bytes for the observer."""
        capability = self.gpu.get("compute_capability")
        major, minor = (
            capability if isinstance(capability, (list, tuple)) and len(capability) == 2 else (0, 0)
        )
        address = _BUS_ID.match(str(self.gpu.get("pci_bus_id", "")))
        facts = FACTS.pack(
            _cut(self.name, 255),
            self.limit_bytes,
            _number(self.gpu.get("driver_version")),
            10 * _number(major, 1000) + _number(minor, 9),
            address is not None,
            *((int(part, 16) for part in address.groups()) if address else (0, 0, 0)),
            *(_number(self.gpu.get(name), 0xFFFFFFFF) for name in ("pci_device_id", "pci_subsystem_id")),
        )
        shown = self.sessions[:MAX_ROWS]
        rows = b"".join(
            ROW.pack(
                s.pid & 0xFFFFFFFF,
                s.busy_percent,
                s.used_bytes,
                s.sampled_us,
                s.resident_bytes,
                s.swapped_bytes,
                s.gpu_ns,
                s.waited_ns,
                PHASES.index(s.phase),
                s.place,
                s.busy,
                0,
                _cut(s.name, 63),
            )
            for s in shown
        )
        peaks = list(self.peak_bytes[:MARKS])
        head = HEAD.pack(
            self.used_bytes,
            len(shown),
            self.mark & 0xFFFFFFFF,
            _cut(self.driver_version, 63),
            _cut(self.slice_name, 127),
            self.age_ns,
            self.gpu_ns,
            self.waited_ns,
            self.swapped_out_bytes,
            self.swapped_in_bytes,
            *peaks,
            *[0] * (MARKS - len(peaks)),
        )
        return (facts + head + rows).ljust(SIZE_BYTES, b"\0")

    @staticmethod
    def unpack(data: bytes) -> Observation:
        """Reads what pack() made; raises struct.error for another size, ValueError for what cannot be."""
        if len(data) != SIZE_BYTES:
            raise struct.error(f"an Observation has {SIZE_BYTES} bytes, not {len(data)}")
        name, limit, driver, capability, known, domain, bus, device, ids, subsystem = FACTS.unpack_from(data)
        used, count, mark, version, slice_name, *numbers = HEAD.unpack_from(data, FACTS.size)
        rows = list(ROW.iter_unpack(data[FACTS.size + HEAD.size :]))[:count]
        gpu: dict[str, Any] = {
            "driver_version": driver,
            "compute_capability": divmod(capability, 10),
            "pci_device_id": ids,
            "pci_subsystem_id": subsystem,
        }
        if known:
            gpu["pci_bus_id"] = f"{domain:04x}:{bus:02x}:{device:02x}.0"
        age_ns, gpu_ns, waited_ns, out_bytes, in_bytes, *peaks = numbers
        return Observation(
            _text(name),
            _text(version),
            limit,
            used,
            gpu,
            [_session(row) for row in rows],
            _text(slice_name),
            age_ns,
            gpu_ns,
            waited_ns,
            out_bytes,
            in_bytes,
            mark,
            peaks[: mark + 1],
        )


def _session(row: tuple[Any, ...]) -> ObservedSession:
    pid, percent, used, sampled_us, resident, swapped, gpu_ns, waited_ns, phase, place, busy, _, name = row
    if phase >= len(PHASES):
        raise ValueError(f"A session's phase is one of {len(PHASES)}, not number {phase}.")
    return ObservedSession(
        pid,
        percent,
        used,
        sampled_us,
        _text(name),
        resident,
        swapped,
        gpu_ns,
        waited_ns,
        PHASES[phase],
        place,
        bool(busy),
    )


def _number(value: object, most: int = 0x7FFFFFFF) -> int:
    """A worker's fact, 0 where it is none that can be."""
    return value if isinstance(value, int) and 0 <= value <= most else 0


def _cut(text: str, most_bytes: int) -> bytes:
    return text.encode(errors="replace")[:most_bytes].decode(errors="ignore").encode()


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(errors="replace")
