"""Entry of the generator: `python -m kernel_hook.codegen TABLE OUTPUT_FOLDER`, or `... TABLE --support FILE`.

With --support, `--gather FOLDER --column NAME` first takes over what the hook counted there (see seen.py).

Files are written only when their text changed, so that an unchanged table rebuilds nothing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if not __package__:  # run as a file, by the build
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from kernel_hook.codegen import emit_docs, emit_hook, emit_protocol, emit_replay, seen
from kernel_hook.codegen.table import Table, TableError, read_table

SEEN = "seen.json"  # beside the support matrix


def outputs(table: Table) -> dict[str, str]:
    """File name to text of everything that the C++ build needs."""
    return {
        "commands.hpp": emit_protocol.emit(table),
        "api.hpp": emit_hook.emit_api(table),
        "exports.cpp": emit_hook.emit_exports(table),
        "refused.cpp": emit_hook.emit_refused(table),
        "proc_map.cpp": emit_hook.emit_proc_map(table),
        "driver_functions.hpp": emit_replay.emit_driver(table),
        "dispatch.cpp": emit_replay.emit_dispatch(table),
        "replay_commands.hpp": emit_replay.emit_commands(table),
    }


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Runs the generator; 1 and the table's fault on stderr if it has one."""
    parser = argparse.ArgumentParser(prog="kernel_hook.codegen", description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--support", type=Path, help="write the support matrix to this file instead")
    parser.add_argument("--gather", type=Path, help="a folder of the hook's counters")
    parser.add_argument("--column", default="software GPU", help="what they were counted on (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        table = read_table(options.table)
    except (TableError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    if options.support is not None:
        found = options.support.with_name(SEEN)
        known = seen.load(found)
        if options.gather is not None:
            known[options.column] = seen.gather(table, options.gather)
            seen.save(found, known)
        _write(options.support, emit_docs.emit(table, known))
        return 0
    if options.folder is None:
        parser.error("an output folder or --support is needed")
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, text in outputs(table).items():
        _write(options.folder / name, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
