"""A table with a fault does not build: the generator names the file, the line and what is the matter."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernel_hook.codegen.__main__ import main
from kernel_hook.codegen.table import TableError, read_table

# Row(s) under a section, on line 3 and on; the line at fault; the reason, whole.
FUNCTION_FORM = "a function's row reads: MODE cuName(PARAMETERS) : BASE@VERSION"
ALIAS_FORM = "an alias reads: alias cuName = cuOther : BASE@VERSION"
COMMAND_FORM = "a command reads: command async|sync Name(FIELDS) [-> (FIELDS)] [+ tail]"
FIRST_WORDS = "local, async, sync, custom, refused, alias, command, driver, section"
BAD = {
    "unknown first word": (
        "remote cuA() : cuA@2000",
        3,
        f"a row starts with one of {FIRST_WORDS}; this one starts with 'remote'",
    ),
    "no title": ("section", 3, "a section needs a title"),
    "no colon": ("local cuA()", 3, FUNCTION_FORM),
    "no listing": ("local cuA() :", 3, FUNCTION_FORM),
    "a name that is none": ("local cudaMalloc() : cudaMalloc@2000", 3, FUNCTION_FORM),
    "lower case": ("local cumalloc() : cuA@2000", 3, FUNCTION_FORM),
    "answered without parameters": (
        "custom cuA : cuA@2000",
        3,
        "cuA is answered: its parameters are missing",
    ),
    "refused with parameters": ("refused cuA() : cuA@2000", 3, "cuA is refused: leave its parameters out"),
    "twice": (
        "local cuA() : cuA@2000\n\n# between\nlocal cuA() : cuA@3000",
        6,
        "cuA has a row already, at line 3",
    ),
    "twice, once refused": (
        "refused cuA : cuA@2000\nlocal cuA() : cuA@3000",
        4,
        "cuA has a row already, at line 3",
    ),
    "a listing that is none": ("local cuA() : cuA", 3, "'cuA' is not BASE@VERSION nor 'unlisted'"),
    "a version that is none": ("local cuA() : cuA@new", 3, "'cuA@new' is not BASE@VERSION nor 'unlisted'"),
    "an old version": ("local cuA() : cuA@1999", 3, "version 1999 is before the driver API's first, 2000"),
    "an old variant": (
        "local cuA() : cuA@2000 ptsz@0",
        3,
        "version 0 is before the driver API's first, 2000",
    ),
    "an unknown variant": (
        "local cuA() : cuA@2000 ptdz@7000",
        3,
        "'ptdz@7000' is not one ptsz@VERSION or ptds@VERSION",
    ),
    "two variants": (
        "local cuA() : cuA@2000 ptsz@7000 ptds@7000",
        3,
        "'ptds@7000' is not one ptsz@VERSION or ptds@VERSION",
    ),
    "two claim a version": (
        "local cuA() : cuA@2000\nlocal cuA_v2() : cuA@3000\nlocal cuA_v3() : cuA@3000\nlocal cuB() : cuB@2000",
        5,
        "cuA_v3 and cuA_v2 both claim cuA@3000",
    ),
    "an alias claims its target's": (
        "local cuA_v2() : cuA@2000\nalias cuA = cuA_v2 : cuA@2000",
        4,
        "cuA and cuA_v2 both claim cuA@2000",
    ),
    "a type without a name": ("local cuA(int) : cuA@2000", 3, "'int' is not a type and a name"),
    "a comma too many": ("local cuA(int a, ) : cuA@2000", 3, "'' is not a type and a name"),
    "a name that is an expression": ("local cuA(int a+b) : cuA@2000", 3, "'a+b' is not a parameter's name"),
    "a parameter twice": ("local cuA(int a, unsigned int a) : cuA@2000", 3, "a stands twice"),
    "out in a local row": (
        "local cuA(out int* a) : cuA@2000",
        3,
        "cuA is local: 'out' belongs to async and sync rows",
    ),
    "new in a custom row": (
        "custom cuA(new CUstream* a) : cuA@2000",
        3,
        "cuA is custom: 'new' belongs to async and sync rows",
    ),
    "out in an async row": (
        "async cuA(out int* a) : cuA@2000",
        3,
        "cuA is async: it cannot have an 'out' parameter",
    ),
    "out that is no pointer": (
        "sync cuA(out int a) : cuA@2000",
        3,
        "a: 'out' needs a pointer to a scalar, not int",
    ),
    "out of a handle": (
        "sync cuA(out CUstream* a) : cuA@2000",
        3,
        "a: 'out' needs a pointer to a scalar, not CUstream*",
    ),
    "new of a scalar": (
        "async cuA(new int* a) : cuA@2000",
        3,
        "a: 'new' needs a pointer to a handle type, not int*",
    ),
    "new that is no pointer": (
        "async cuA(new CUevent a) : cuA@2000",
        3,
        "a: 'new' needs a pointer to a handle type, not CUevent",
    ),
    "a pointer that cannot travel": (
        "async cuA(const void* a) : cuA@2000",
        3,
        "a: const void* cannot be passed by a generated row; make cuA custom",
    ),
    "an array that cannot travel": (
        "sync cuA(int a[]) : cuA@2000",
        3,
        "a: int* cannot be passed by a generated row; make cuA custom",
    ),
    "a struct that cannot travel": (
        "sync cuA(CUlaunchConfig a) : cuA@2000",
        3,
        "a: CUlaunchConfig cannot be passed by a generated row; make cuA custom",
    ),
    "a handle that cannot travel": (
        "sync cuA(CUmodule a) : cuA@2000",
        3,
        "a: CUmodule cannot be passed by a generated row; make cuA custom",
    ),
    "a function that takes a command's name": (
        "command async EventRecord()\nasync cuEventRecord() : cuEventRecord@2000",
        4,
        "EventRecord has a row already, at line 3",
    ),
    "an alias without a target": ("alias cuA : unlisted", 3, ALIAS_FORM),
    "an alias of nothing": (
        "alias cuA = cuB : unlisted",
        3,
        "cuA is an alias of cuB, which has no row above",
    ),
    "an alias of what stands below": (
        "alias cuA = cuB : unlisted\nlocal cuB() : cuB@2000",
        3,
        "cuA is an alias of cuB, which has no row above",
    ),
    "an alias of itself": ("alias cuA = cuA : unlisted", 3, "cuA is an alias of cuA, which has no row above"),
    "an alias that has a row": (
        "local cuA() : cuA@2000\nlocal cuB() : cuB@2000\nalias cuA = cuB : unlisted",
        5,
        "cuA has a row already, at line 3",
    ),
    "a command without parentheses": ("command async A", 3, COMMAND_FORM),
    "a command in lower case": ("command async a()", 3, COMMAND_FORM),
    "words behind a command": ("command async A() + tail and more", 3, COMMAND_FORM),
    "a command of another mode": ("command local A()", 3, "a command is async or sync, not 'local'"),
    "a reply to an async command": ("command async A() -> (u32 a)", 3, "A is async: it cannot have a reply"),
    "an empty reply to an async command": (
        "command async A() -> ()",
        3,
        "A is async: it cannot have a reply",
    ),
    "a command twice": ("command async A()\ncommand sync A()", 4, "A has a row already, at line 3"),
    "the filler's name": ("command async Pad()", 3, "Pad is the ring's filler: name the command otherwise"),
    "a field without a name": ("command async A(u32)", 3, "'u32' is not a kind and a name"),
    "a field of three words": (
        "command async A(unsigned int a)",
        3,
        "'unsigned int a' is not a kind and a name",
    ),
    "an unknown wire type": ("command async A(u24 a)", 3, "'u24' is neither a wire type nor a handle kind"),
    "an unknown handle kind": (
        "command async A(new graph a)",
        3,
        "'graph' is neither a wire type nor a handle kind",
    ),
    "brackets without a number": (
        "command async A(u8[] a)",
        3,
        "'u8[]' is neither a wire type nor a handle kind",
    ),
    "a handle in a reply": (
        "command sync A() -> (stream a)",
        3,
        "a: a handle is a single field of a command, never of a reply",
    ),
    "an array of handles": (
        "command sync A(stream[2] a)",
        3,
        "a: a handle is a single field of a command, never of a reply",
    ),
    "a new scalar": ("command async A(new u32 a)", 3, "a: only a handle is 'new'"),
    "a dropped scalar": ("command async A(drop u64 a)", 3, "a: only a handle is 'drop'"),
    "too many elements": ("command async A(u8[257] a)", 3, "a: 257 elements are not between 1 and 256"),
    "no elements": ("command async A(u8[0] a)", 3, "a: 0 elements are not between 1 and 256"),
    "a field twice": ("command async A(u32 a, u64 a)", 3, "a stands twice"),
    "a field twice in a reply": ("command sync A() -> (u32 a, u64 a)", 3, "a stands twice"),
    "the header's name": (
        "command async A(u32 header)",
        3,
        "every command has a header of its own: name the field otherwise",
    ),
    "a driver row of nothing": ("driver", 3, "a driver row names at least one function"),
    "a driver function that is none": (
        "driver cuA nvmlInit",
        3,
        "'nvmlInit' is not a driver function's name",
    ),
    "a driver function twice": ("driver cuA\ndriver cuB cuA", 4, "cuA is listed already"),
    "a driver function twice in a row": ("driver? cuA cuA", 3, "cuA is listed already"),
}


@pytest.mark.parametrize(("rows", "line", "reason"), BAD.values(), ids=BAD.keys())
def test_fault(rows: str, line: int, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.api"
    path.write_text(f"# A table with one fault.\nsection Rows\n{rows}\n", encoding="utf-8")
    with pytest.raises(TableError) as fault:
        read_table(path)
    assert (str(fault.value), fault.value.line, fault.value.reason) == (
        f"bad.api:{line}: {reason}",
        line,
        reason,
    )

    assert main([str(path), str(tmp_path / "generated")]) == 1
    assert capsys.readouterr().err == f"bad.api:{line}: {reason}\n"
    assert not (tmp_path / "generated").exists()


@pytest.mark.parametrize(
    "row", ["local cuA() : cuA@2000", "refused cuA : cuA@2000", "async cuA() : cuA@2000"]
)
def test_a_function_belongs_to_a_section(row: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.api"
    path.write_text(f"driver cuB\n{row}\n", encoding="utf-8")
    with pytest.raises(TableError, match=r"bad\.api:2: cuA stands before the first section"):
        read_table(path)


def test_the_first_fault_is_the_one_that_is_told(tmp_path: Path) -> None:
    path = tmp_path / "bad.api"
    path.write_text("section A\nlocal cuA() : cuA\nremote\n", encoding="utf-8")
    with pytest.raises(TableError, match=r"bad\.api:2:"):
        read_table(path)


def test_a_table_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.api"), str(tmp_path)]) == 1
    assert "none.api" in capsys.readouterr().err
