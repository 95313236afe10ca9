"""How large slices are whose size nobody chose: small, medium and large, by the memory of the GPU.

The daemon gives a slice whose opener names no size the medium one (gpu_server/slices.py); the kernelspecs that
`tfusion kernelspec install` makes are of all three (jupyter_tfusion/profiles.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from gpu_server.sizes import GIB, MIB

SMALL_GPU_BYTES = 4 * GIB
LEAST_BYTES = 16 * MIB


@dataclass(frozen=True)
class SliceSizes:
    """In bytes; powers of two, so that they have short names."""

    small: int
    medium: int
    large: int


def sizes_for(memory_bytes: int) -> SliceSizes:
    """Sizes for a GPU of which ``memory_bytes`` may be used; none is more than that.

    A class of thirty fits onto one GPU with small slices. But less than a GiB is of no use to most frameworks, so on
    smaller GPUs fewer fit. Below 4 GiB it is the software GPU or a very old one: four medium slices.
    """
    if memory_bytes < SMALL_GPU_BYTES:
        parts, least = (8, 4, 2), (LEAST_BYTES, LEAST_BYTES, LEAST_BYTES)
    else:
        parts, least = (32, 16, 4), (1 * GIB, 2 * GIB, 4 * GIB)
    return SliceSizes(
        *(
            min(memory_bytes, max(low, _power_of_two(memory_bytes // part)))
            for part, low in zip(parts, least, strict=True)
        )
    )


def _power_of_two(most: int) -> int:
    return 1 << (most.bit_length() - 1) if most > 0 else 0
