"""What the scheduler knows of a slice: its share, its GPU time and whether it may go on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gpu_server.scheduler.ceiling import Ceiling

if TYPE_CHECKING:
    from gpu_server.scheduler.session import Session


@dataclass
class SliceAccount:
    """One slice on one GPU. Its sessions run and wait together, so nobody gets more by starting more processes."""

    slice_id: str
    share: float
    ceiling: Ceiling | None = None
    sessions: dict[str, Session] = field(default_factory=dict)
    virtual_ns: float | None = None
    """GPU time / share, credit included. None until the slice has its first work."""
    gpu_ns: float = 0.0
    active: bool = False
    """One of its sessions has work."""
    able: bool = False
    """One of its sessions has work and all its memory, and the ceiling does not forbid it to run."""
    burst_left_ns: float = 0.0
    """Of the credit for coming back from idleness: while there is some, the slice is not held back."""
    held_back: bool = False
    """It is ahead of others that have work, and waits for them."""
    held_since_ns: int = 0
    free_until_virtual_ns: float = 0.0
    """Let go after a long wait: not held back again before it has got here."""

    @property
    def over_ceiling(self) -> bool:
        """It has had its part of the time."""
        return self.ceiling is not None and self.ceiling.over

    @property
    def virtual(self) -> float:
        """Virtual time, 0 before the first work."""
        return self.virtual_ns or 0.0
