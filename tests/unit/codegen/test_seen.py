"""What the hook's counters say of each function goes into the support matrix."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from kernel_hook.codegen import emit_docs, seen
from kernel_hook.codegen.__main__ import main
from kernel_hook.codegen.table import Table, read_table

TABLE = Path(__file__).parent / "golden" / "table.api"


@pytest.fixture
def table() -> Table:
    return read_table(TABLE)


def counters(table: Table, folder: Path, name: str, **calls: tuple[int, int]) -> None:
    """One process's file: function to (calls, failures)."""
    known = [calls.get(function.name, (0, 0)) for function in table.functions]
    (folder / f"calls-{name}").write_bytes(b"".join(struct.pack("=II", *pair) for pair in known))


def test_counters_of_all_processes_are_summed(table: Table, tmp_path: Path) -> None:
    one, two, three = [f.name for f in table.functions if f.mode != "refused"][:3]
    counters(table, tmp_path, "a", **{one: (3, 3), two: (2, 2)})
    counters(table, tmp_path, "b", **{one: (1, 0)})
    assert seen.gather(table, tmp_path) == {"worked": [one], "failed": [two]}
    text = emit_docs.emit(table, {"here": seen.gather(table, tmp_path)})
    rows = {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| `")}
    assert rows[one].endswith("| worked |")
    assert rows[two].endswith("| fails as it must |")
    assert rows[three].endswith("|  |")


def test_counters_of_another_table_are_refused(table: Table, tmp_path: Path) -> None:
    (tmp_path / "calls-a").write_bytes(bytes(16))
    with pytest.raises(ValueError, match="counts 2 functions, and the table has"):
        seen.gather(table, tmp_path)


def test_a_column_replaces_its_older_self_and_leaves_the_others(table: Table, tmp_path: Path) -> None:
    folder, matrix = tmp_path / "calls", tmp_path / "support.md"
    folder.mkdir()
    first = table.functions[0].name
    seen.save(
        tmp_path / "seen.json",
        {"a GPU": {"worked": [], "failed": [first]}, "software GPU": {"worked": [], "failed": []}},
    )
    counters(table, folder, "a", **{first: (1, 0)})
    assert main([str(TABLE), "--support", str(matrix), "--gather", str(folder)]) == 0
    assert seen.load(tmp_path / "seen.json") == {
        "a GPU": {"worked": [], "failed": [first]},
        "software GPU": {"worked": [first], "failed": []},
    }
    assert matrix.read_text() == emit_docs.emit(table, seen.load(tmp_path / "seen.json"))
