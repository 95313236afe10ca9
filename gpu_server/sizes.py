"""Sizes of memory as people write and read them: "16GiB" in options and configuration, "4.0 GiB" in sentences."""

from __future__ import annotations

import math
import re
from typing import Any

import traitlets

MIB = 1 << 20
GIB = 1 << 30

_UNITS = {
    "": 1, "b": 1,
    "k": 1 << 10, "kib": 1 << 10, "kb": 10**3,
    "m": 1 << 20, "mib": 1 << 20, "mb": 10**6,
    "g": 1 << 30, "gib": 1 << 30, "gb": 10**9,
    "t": 1 << 40, "tib": 1 << 40, "tb": 10**12,
}  # fmt: skip
_PATTERN = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*\Z")


def parse_size(text: str) -> int:
    """Bytes meant by ``text``: "4GiB", "512 MiB", "1.5G" (= GiB), "16GB" (decimal), or plain bytes.

    Raises ValueError with a sentence.
    """
    match = _PATTERN.match(text)
    unit = _UNITS.get(match.group(2).lower()) if match else None
    if match is None or unit is None:
        raise ValueError(f"'{text}' is not a size of memory; write it like 4GiB, 512MiB or 16GB.")
    number = float(match.group(1))
    size = int(match.group(1)) * unit if "." not in match.group(1) else math.floor(number * unit)
    if size >= 1 << 63:
        raise ValueError(f"'{text}' is more memory than any machine has; write it like 4GiB or 512MiB.")
    return size


def format_size(size: int) -> str:
    """``size`` bytes for a sentence, e.g. "4.0 GiB", "512 MiB", "17 bytes"."""
    if size >= 1 << 40:
        return f"{size / (1 << 40):.1f} TiB"
    if size >= GIB:
        return f"{size / GIB:.1f} GiB"
    if size >= MIB:
        return f"{size / MIB:.4g} MiB"
    if size >= 1 << 10:
        return f"{size / (1 << 10):.4g} KiB"
    return f"{size} bytes"


class MemorySize(traitlets.TraitType[int, Any]):
    """A trait in bytes that also takes a string such as "16GiB"."""

    default_value = 0
    info_text = "a size of memory such as 4GiB, 512MiB or a number of bytes"

    def validate(self, obj: Any, value: Any) -> int:
        """Bytes; raises TraitError for anything else."""
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        if isinstance(value, str):
            return self.from_string(value)
        self.error(obj, value)
        raise AssertionError("unreachable: error() raises")

    def from_string(self, s: str) -> int:
        """For the command line's ``--TFusionServer.memory=16GiB``."""
        try:
            return parse_size(s)
        except ValueError as error:
            raise traitlets.TraitError(str(error)) from None
