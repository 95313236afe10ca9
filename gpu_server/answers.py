"""What the control API answers, for the clients of gpu_server/client.py; the fields are those of control.proto."""

from __future__ import annotations

import enum
from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """One GPU of the daemon. ``memory_bytes`` is what the daemon may use of it, ``reserved_bytes`` the sum of the
    open slices' limits, ``used_bytes`` what sessions hold now; ``utilization_percent`` is -1 where unknown; ``waiting``
    is how many sessions wait their turn."""

    uuid: str
    name: str
    software: bool
    memory_bytes: int
    reserved_bytes: int
    used_bytes: int
    utilization_percent: int
    driver_version: str
    waiting: int = 0


@dataclass(frozen=True)
class OpenedSlice:
    """A slice just opened. ``token`` is its secret; ``session_socket`` is where its processes connect."""

    slice_id: str
    token: str
    session_socket: str
    vram_bytes: int
    time_to_live_s: float
    gpu: Gpu

    def __repr__(self) -> str:
        """Without the token: this ends up in logs."""
        return f"OpenedSlice({self.slice_id!r}, {self.vram_bytes} bytes on {self.gpu.name!r})"


@dataclass(frozen=True)
class Slice:
    """An open slice as the daemon lists it; the fields are those of control.proto."""

    slice_id: str
    name: str
    owner: str
    kernel_id: str
    gpu_uuid: str
    vram_bytes: int
    used_bytes: int
    share: float
    age_s: float
    expires_in_s: float
    sessions: int
    ceiling: float
    resident_bytes: int
    swapped_bytes: int
    phase: str
    place: int
    why: str
    gpu_s: float
    waited_s: float
    idle_s: float
    ends_in_s: float
    ended_s: float


@dataclass(frozen=True)
class Session:
    """One client process under a slice, and its worker; the fields are those of control.proto."""

    session_id: str
    slice_id: str
    client_pid: int
    client_name: str
    worker_pid: int
    used_bytes: int
    calls: int
    age_s: float
    resident_bytes: int
    swapped_bytes: int
    spilled_bytes: int
    phase: str
    place: int
    gpu_s: float
    waited_s: float


@dataclass(frozen=True)
class StoryEntry:
    """Something that the scheduler decided about a slice, ``age_s`` seconds ago."""

    age_s: float
    session_id: str
    sentence: str


class EndingKind(enum.IntEnum):
    """As Ending.Kind of control.proto. SESSION: a process under the slice lost its GPU, and the slice goes on."""

    SESSION = 1
    SLICE = 2


@dataclass(frozen=True)
class Ending:
    """Something that a learner had has ended without being asked to; ``sentence`` says why."""

    kind: EndingKind
    slice_id: str
    kernel_id: str
    sentence: str


@dataclass(frozen=True)
class StateChange:
    """What has changed; with ``full`` all that there is. ``gpus`` is empty if none has changed."""

    full: bool
    gpus: list[Gpu]
    slices: list[Slice]
    gone: list[str]
    endings: list[Ending]
