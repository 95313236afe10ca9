"""Writes docs/support.md: what the hook answers of each driver function, by section of the table."""

from __future__ import annotations

from kernel_hook.codegen.seen import FAILED, WORKED, Seen
from kernel_hook.codegen.table import Table

_MEANING = {
    "local": "answered in the client process",
    "async": "sent, no wait",
    "sync": "sent, waits for the reply",
    "custom": "answered",
    "refused": "CUDA_ERROR_NOT_SUPPORTED",
}


def emit(table: Table, seen: Seen) -> str:
    """The text of docs/support.md."""
    counts = {mode: sum(1 for f in table.functions if f.mode == mode) for mode in _MEANING}
    out = [
        "# Support matrix of the driver API",
        "",
        "Generated from `kernel_hook/api/driver.api` and from what tests saw, with `make support`. Every function",
        "below is exported by the hook, and found by `cuGetProcAddress` where the driver's own knows it; a refused",
        "one returns `CUDA_ERROR_NOT_SUPPORTED` and is named once on stderr.",
        "",
        *_columns(seen),
        "| answer | meaning | functions |",
        "|---|---|---|",
        *(f"| {mode} | {meaning} | {counts[mode]} |" for mode, meaning in _MEANING.items()),
        "",
    ]
    for section in dict.fromkeys(f.section for f in table.functions):
        rows = [f for f in table.functions if f.section == section]
        answered = [f for f in rows if f.mode != "refused"]
        refused = [f for f in rows if f.mode == "refused"]
        out += [f"## {section}", ""]
        if answered:
            out += [
                "| function | answer | since | per-thread variant |"
                + "".join(f" {column} |" for column in sorted(seen)),
                "|---|---|---|---|" + "---|" * len(seen),
            ]
            for f in answered:
                since = (
                    f"{f.listing.version // 1000}.{f.listing.version % 1000 // 10}" if f.listing.base else ""
                )
                suffix = f.listing.per_thread_suffix
                tests = "".join(f" {_told(seen[column], f.name)} |" for column in sorted(seen))
                out.append(f"| `{f.name}` | {f.mode} | {since} | {f'`_{suffix}`' if suffix else ''} |{tests}")
            out.append("")
        if refused:
            out += ["Refused: " + ", ".join(f"`{f.name}`" for f in refused) + ".", ""]
    return "\n".join(out)


def _columns(seen: Seen) -> list[str]:
    if not seen:
        return []
    return [
        "A column per kind of GPU says what tests saw there: that the function worked, or that it was only called",
        "where it must fail. Empty: no test calls it there.",
        "",
    ]


def _told(column: dict[str, list[str]], name: str) -> str:
    return "worked" if name in column[WORKED] else "fails as it must" if name in column[FAILED] else ""
