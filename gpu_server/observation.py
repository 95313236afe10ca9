"""The structs of kernel_hook/protocol/observation.hpp for Python: what an observer is told of its slice.

Made by the session manager for each question; tests read them. Little-endian, no padding;
tests/unit/daemon/test_observation.py compiles the header and compares the two.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FACTS = struct.Struct("<256sQiiIIIIII")
HEAD = struct.Struct("<QII64s")
ROW = struct.Struct("<IIQQ64s")
MAX_ROWS = 64
SIZE_BYTES = FACTS.size + HEAD.size + MAX_ROWS * ROW.size

_BUS_ID = re.compile(r"([0-9a-fA-F]{4,8}):([0-9a-fA-F]{2}):([0-9a-fA-F]{2})\.0\Z")


@dataclass(frozen=True)
class ObservedSession:
    """One session of the slice. ``sampled_us`` is the Unix time at the end of the period of ``busy_percent``."""

    pid: int
    busy_percent: int
    used_bytes: int
    sampled_us: int
    name: str


@dataclass(frozen=True)
class Observation:
    """A slice at one moment. ``gpu`` holds a worker's facts about the GPU, none before a worker has opened it."""

    name: str
    driver_version: str
    limit_bytes: int
    used_bytes: int
    gpu: Mapping[str, Any]
    sessions: Sequence[ObservedSession]

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
            ROW.pack(s.pid & 0xFFFFFFFF, s.busy_percent, s.used_bytes, s.sampled_us, _cut(s.name, 63))
            for s in shown
        )
        head = HEAD.pack(self.used_bytes, len(shown), 0, _cut(self.driver_version, 63))
        return (facts + head + rows).ljust(SIZE_BYTES, b"\0")

    @staticmethod
    def unpack(data: bytes) -> Observation:
        """Reads what pack() made; raises struct.error for another size."""
        if len(data) != SIZE_BYTES:
            raise struct.error(f"an Observation has {SIZE_BYTES} bytes, not {len(data)}")
        name, limit, driver, capability, known, domain, bus, device, ids, subsystem = FACTS.unpack_from(data)
        used, count, _, version = HEAD.unpack_from(data, FACTS.size)
        rows = list(ROW.iter_unpack(data[FACTS.size + HEAD.size :]))[:count]
        gpu: dict[str, Any] = {
            "driver_version": driver,
            "compute_capability": divmod(capability, 10),
            "pci_device_id": ids,
            "pci_subsystem_id": subsystem,
        }
        if known:
            gpu["pci_bus_id"] = f"{domain:04x}:{bus:02x}:{device:02x}.0"
        sessions = [ObservedSession(p, busy, held, at, _text(text)) for p, busy, held, at, text in rows]
        return Observation(_text(name), _text(version), limit, used, gpu, sessions)


def _number(value: object, most: int = 0x7FFFFFFF) -> int:
    """A worker's fact, 0 where it is none that can be."""
    return value if isinstance(value, int) and 0 <= value <= most else 0


def _cut(text: str, most_bytes: int) -> bytes:
    return text.encode(errors="replace")[:most_bytes].decode(errors="ignore").encode()


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(errors="replace")
