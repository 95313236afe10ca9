"""The numbers that decide how a GPU is shared. One object per GPU; nothing else in the scheduler is a setting."""

from __future__ import annotations

from dataclasses import dataclass

from gpu_server.sizes import MIB

MS = 1_000_000
SECOND = 1_000_000_000


@dataclass(frozen=True)
class Policy:
    """How a GPU is shared. Times are nanoseconds, sizes bytes; raises ValueError for what can be no policy."""

    quantum_ns: int = 20 * MS
    """GPU time that a slice may have had more than its share, measured against the one furthest behind."""

    burst_ns: int = 50 * MS
    """GPU time that a slice which comes back from idleness gets before those that ran all along."""

    swap_part: float = 0.10
    """Part of the time (of 1) that may go into exchanging memory between slices that all have work."""

    swap_bytes_per_s: float = 20e9
    """Speed of a swap, out or in, until note_swap_speed() has told the measured one."""

    ceiling_window_ns: int = SECOND
    """In any window of this length a slice with a ceiling has at most its part and a fiftieth of the window more."""

    cooling_ns: int = 10 * SECOND
    """After so long without work an idle session's memory is taken ahead of need, if memory was short lately.
    0: never."""

    headroom_bytes: int = 256 * MIB
    """While memory is plentiful, a session may grow by so much without asking."""

    piece_bytes: int = 32 * MIB
    """Most memory that a worker moves as a whole, so it may swap out so much more than it was told; also what host
    memory and disk are granted in."""

    tick_ns: int = 5 * MS
    """How often the machine wants to look while sessions compete."""

    def __post_init__(self) -> None:
        positive = ("quantum_ns", "swap_bytes_per_s", "ceiling_window_ns", "tick_ns", "piece_bytes")
        wrong = [name for name in positive if not getattr(self, name) > 0]
        wrong += [name for name in ("burst_ns", "cooling_ns", "headroom_bytes") if getattr(self, name) < 0]
        if not 0.0 < self.swap_part <= 1.0:
            wrong.append("swap_part")
        if wrong:
            raise ValueError(f"The scheduler's policy has values out of range: {', '.join(wrong)}.")
