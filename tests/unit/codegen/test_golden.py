"""What the generator writes, word by word: golden/table.api has a row of every kind, golden/*.txt the texts for it.

After a wanted change of the generator: `pytest tests/unit/codegen/test_golden.py --update-golden`, then read the
difference that git shows. The texts end in .txt so that formatters and compilers leave them alone.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from kernel_hook.codegen import emit_docs, seen
from kernel_hook.codegen.__main__ import main, outputs
from kernel_hook.codegen.table import read_table

SEEN = {
    "software GPU": {"worked": ["cuInit"], "failed": []},
    "a GPU": {"worked": [], "failed": ["cuInit"]},
}
GOLDEN = Path(__file__).parent / "golden"
FILES = (
    "commands.hpp api.hpp exports.cpp refused.cpp proc_map.cpp driver_functions.hpp dispatch.cpp "
    "replay_commands.hpp support.md"
).split()


def texts() -> dict[str, str]:
    table = read_table(GOLDEN / "table.api")
    return {**outputs(table), "support.md": emit_docs.emit(table, SEEN)}


def test_the_list_of_outputs_is_complete() -> None:
    assert sorted(texts()) == sorted(FILES)
    assert sorted(path.name for path in GOLDEN.iterdir()) == sorted(
        [f"{name}.txt" for name in FILES] + ["table.api"]
    )


@pytest.mark.parametrize("name", FILES)
def test_text(name: str, update_golden: bool) -> None:
    kept = GOLDEN / f"{name}.txt"
    if update_golden:
        kept.write_text(texts()[name], encoding="utf-8")
    assert texts()[name].splitlines() == kept.read_text(encoding="utf-8").splitlines()


def test_command_line_writes_the_same(tmp_path: Path) -> None:
    assert main([str(GOLDEN / "table.api"), str(tmp_path / "generated")]) == 0
    seen.save(tmp_path / "generated" / "seen.json", SEEN)
    assert main([str(GOLDEN / "table.api"), "--support", str(tmp_path / "generated" / "support.md")]) == 0
    (tmp_path / "generated" / "seen.json").unlink()
    written = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "generated").iterdir()}
    assert written == texts()


def test_an_unchanged_table_rewrites_nothing(tmp_path: Path) -> None:
    arguments = [str(GOLDEN / "table.api"), str(tmp_path)]
    main(arguments)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    main(arguments)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
