"""What tests have seen of each driver function, for the support matrix: gathered from the hook's counters.

`make support` runs the tests with TFUSION_COUNT_CALLS set, so that every client process keeps counters
(kernel_hook/src/call_counts.hpp), and gathers them into a file beside the matrix (docs/seen.json): per column
("software GPU", or a GPU's tests) the functions that succeeded at least once, and those that only ever failed.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

from kernel_hook.codegen.table import Table

WORKED, FAILED = "worked", "failed"
Seen = dict[str, dict[str, list[str]]]  # column -> worked, failed -> names of functions


def gather(table: Table, folder: Path) -> dict[str, list[str]]:
    """The functions that worked, and those that only failed, in all counter files of a folder.

    Raises ValueError for a file that another table's hook wrote.
    """
    names = [function.name for function in table.functions]
    calls, failures = [0] * len(names), [0] * len(names)
    for file in sorted(folder.glob("calls-*")):
        data = file.read_bytes()
        if len(data) != 8 * len(names):
            raise ValueError(f"{file} counts {len(data) // 8} functions, and the table has {len(names)}.")
        for index, (called, failed) in enumerate(struct.iter_unpack("=II", data)):
            calls[index] += called
            failures[index] += failed
    counted = list(zip(names, calls, failures, strict=True))
    return {
        WORKED: sorted(name for name, called, failed in counted if called > failed),
        FAILED: sorted(name for name, called, failed in counted if called == failed > 0),
    }


def load(file: Path) -> Seen:
    """What was gathered before; nothing if there is no such file."""
    if not file.exists():
        return {}
    seen: Seen = json.loads(file.read_text(encoding="utf-8"))
    return seen


def save(file: Path, seen: Seen) -> None:
    """Writes the file, one name per line, so that a change is easy to read."""
    file.write_text(json.dumps(seen, indent=1, sort_keys=True) + "\n", encoding="utf-8")
