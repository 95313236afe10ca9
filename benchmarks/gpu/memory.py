"""What a process occupies, from /proc: resident memory, and what of it is the hook's library or the shared mappings.

Read by the child of itself and by the driver of workers. Nothing here may load a GPU library.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

HOOK_FOLDER = "/kernel_hook/"
# The shared mappings of a session (ring, replies, staging, pinned memory) and of its slice are memfds by these names.
SHARED_PREFIX = "/memfd:tfusion"


def _mappings(pid: int) -> Iterator[tuple[str, dict[str, int]]]:
    # One "from-to rights offset device inode path" line, then "Name: n kB" lines.
    path, sizes = "", dict[str, int]()
    for line in Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.split(None, 5)
        if not words[0].endswith(":"):
            if sizes:
                yield path, sizes
            path, sizes = (words[5] if len(words) > 5 else ""), {}
        elif len(words) == 3 and words[2] == "kB":
            sizes[words[0][:-1]] = int(words[1]) << 10
    if sizes:
        yield path, sizes


def of_process(pid: int) -> dict[str, int]:
    """Bytes: resident now and at most, proportional, and of these the hook's library and the shared mappings.

    `own_rss` leaves the shared mappings out: their pages come in as the ring goes round for the first time.
    """
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    values = dict(line.split(":", 1) for line in status if ":" in line)
    sizes = {
        "rss": int(values["VmRSS"].split()[0]) << 10,
        "peak_rss": int(values["VmHWM"].split()[0]) << 10,
        "own_rss": 0,
        "pss": 0,
        "hook_library_rss": 0,
        "shared_rss": 0,
        "shared_pss": 0,
    }
    for path, mapping in _mappings(pid):
        sizes["pss"] += mapping.get("Pss", 0)
        if path.startswith(SHARED_PREFIX):
            sizes["shared_rss"] += mapping.get("Rss", 0)
            sizes["shared_pss"] += mapping.get("Pss", 0)
            continue
        sizes["own_rss"] += mapping.get("Rss", 0)
        if HOOK_FOLDER in path:
            sizes["hook_library_rss"] += mapping.get("Rss", 0)
    return sizes
