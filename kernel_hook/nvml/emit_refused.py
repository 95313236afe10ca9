"""Reads the table of NVML's functions (nvml.api) and writes the refused ones: `emit_refused.py TABLE OUTPUT_FILE`.

Run at build time by CMakeLists.txt and used by the tests. A fault of the table is a TableError with line and reason.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

_ROW = re.compile(r"^(answered|refused) (nvml[A-Z]\w*)$")


class TableError(Exception):
    """A fault in the table: `file:line: reason`."""


def read_table(path: Path) -> dict[str, str]:
    """Name of each exported function to `answered` or `refused`. Raises TableError, OSError."""
    table: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        text = line.split("#", 1)[0].strip()
        if not text:
            continue
        row = _ROW.match(text)
        if row is None:
            raise TableError(
                f"{path.name}:{number}: expected 'answered NAME' or 'refused NAME', not '{text}'"
            )
        if row[2] in table:
            raise TableError(f"{path.name}:{number}: {row[2]} is there twice")
        table[row[2]] = row[1]
    return table


def emit(table: dict[str, str]) -> str:
    """The C++ file that defines every refused function of the table."""
    stubs = [
        f"TFUSION_NVML tfusion::nvml::Result {name}() {{ return tfusion::nvml::refuse(); }}"
        for name, mode in table.items()
        if mode == "refused"
    ]
    head = [
        "// Written by emit_refused.py from nvml.api. Arguments are not looked at.",
        '#include "library.hpp"',
        "",
    ]
    return "\n".join([*head, *stubs, ""])


def main(arguments: list[str]) -> int:
    """1, and the fault on stderr, if the table has one."""
    if len(arguments) != 2:
        print("usage: emit_refused.py TABLE OUTPUT_FILE", file=sys.stderr)
        return 2
    try:
        text = emit(read_table(Path(arguments[0])))
    except (TableError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    output = Path(arguments[1])
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
