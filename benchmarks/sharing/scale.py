"""How big and how long everything is: on an NVIDIA GPU, and in a rehearsal on the software GPU."""

from __future__ import annotations

from dataclasses import dataclass

GIB = 1 << 30
MIB = 1 << 20
# What a GiB of the experiments is in a rehearsal: 16 GiB are 64 MiB then.
REHEARSAL_GIB = 4 * MIB

# What memory is given in, on NVIDIA GPUs as on the software GPU.
SMALLEST_PIECE = 2 * MIB


@dataclass(frozen=True)
class Scale:
    """Chosen once, by the command line."""

    rehearsal: bool
    seconds: float
    """How long one window of a measurement is."""
    class_seconds: float
    repeats: int
    """Windows of each measurement of time; swaps are repeated more often."""

    def size(self, gib: float) -> int:
        """Bytes of what the experiment calls so many GiB."""
        return round(gib * (REHEARSAL_GIB if self.rehearsal else GIB))

    @property
    def gpu_bytes(self) -> int:
        """What daemons may use of the GPU."""
        return self.size(16)

    @property
    def everything(self) -> int:
        """What one session can take of it: all but the piece that its four bytes for `check` lie in."""
        return self.gpu_bytes - SMALLEST_PIECE

    @property
    def kernel_us(self) -> float:
        """Length of the kernels that are counted."""
        return 1000.0 if self.rehearsal else 200.0

    @property
    def settle_s(self) -> float:
        """How long the host's memory for swaps may take to be filled and pinned ahead of need."""
        return 0.5 if self.rehearsal else 6.0

    @property
    def swap_repeats(self) -> int:
        """Swaps, exchanges, wakes: at least five, or medians mean little."""
        return 5 if self.rehearsal else 15

    @property
    def learners(self) -> int:
        """Learners in the class."""
        return 6 if self.rehearsal else 32

    @property
    def think_s(self) -> float:
        """Mean time that a learner thinks."""
        return 1.0 if self.rehearsal else 4.0
