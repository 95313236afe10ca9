"""The real table against the real driver: every name it exports, everything frameworks ask cuGetProcAddress for."""

from __future__ import annotations

import csv
import ctypes
from pathlib import Path

import pytest

import kernel_hook
from kernel_hook.codegen import emit_docs, seen
from kernel_hook.codegen.table import Table, read_table

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
NOT_FOUND, SUCCESS = 500, 0
PER_THREAD = 2


def lines(name: str) -> list[str]:
    return [
        line for line in (HERE / name).read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    ]


DRIVER_EXPORTS = lines("driver_exports.txt")
# (name, version, flags), one for each combination that was seen.
ASKED = [
    (row["name"], int(version), int(flags))
    for row in csv.DictReader(lines("getprocaddress.csv"))
    for version in row["versions"].split()
    for flags in row["flags"].split()
]


@pytest.fixture(scope="module")
def table() -> Table:
    return read_table(ROOT / "kernel_hook" / "api" / "driver.api")


@pytest.fixture(scope="module")
def hook() -> ctypes.CDLL:
    """The hook as it was built; these questions need no session."""
    try:
        return ctypes.CDLL(str(kernel_hook.library_path()))
    except kernel_hook.HookMissing as missing:
        pytest.skip(str(missing))


def exported(table: Table) -> list[str]:
    return [
        name
        for f in table.functions
        for name in (f.name, f"{f.name}_{f.listing.per_thread_suffix}" if f.listing.per_thread_suffix else "")
        if name
    ]


def find(hook: ctypes.CDLL, name: str, version: int, flags: int) -> tuple[int, int | None]:
    function, status = ctypes.c_void_p(), ctypes.c_int(-1)
    result = hook.cuGetProcAddress_v2(
        name.encode(), ctypes.byref(function), version, ctypes.c_uint64(flags), ctypes.byref(status)
    )
    return result, function.value


def address(hook: ctypes.CDLL, symbol: str) -> int | None:
    return ctypes.cast(getattr(hook, symbol), ctypes.c_void_p).value


def test_every_function_of_the_driver_has_a_row(table: Table) -> None:
    names = exported(table)
    assert len(names) == len(set(names))
    assert set(DRIVER_EXPORTS) - set(names) == set()


def test_no_row_is_of_a_function_that_no_driver_has(table: Table) -> None:
    assert set(exported(table)) - set(DRIVER_EXPORTS) == set()


def test_the_hook_exports_them_all(hook: ctypes.CDLL) -> None:
    assert [name for name in DRIVER_EXPORTS if not hasattr(hook, name)] == []


def test_everything_frameworks_ask_for_is_found(hook: ctypes.CDLL) -> None:
    answers = {question: find(hook, *question) for question in ASKED if question[0]}
    assert [q for q, (result, function) in answers.items() if result != SUCCESS or not function] == []


def test_the_empty_name_is_answered(hook: ctypes.CDLL) -> None:
    assert ("", 0, 0) in ASKED
    assert find(hook, "", 0, 0)[0] == SUCCESS


def test_every_listing_finds_its_own_symbol(hook: ctypes.CDLL, table: Table) -> None:
    """Asked with the version since which it exists, a name gives that very symbol; with the version before, not."""
    for f in table.functions:
        base = f.listing.base
        if base is None:
            continue
        assert find(hook, base, f.listing.version, 0) == (SUCCESS, address(hook, f.name)), f.name
        assert find(hook, base, f.listing.version - 1, 0)[1] != address(hook, f.name), f.name
        if f.listing.per_thread_suffix and f.listing.per_thread_version >= f.listing.version:
            variant = f"{f.name}_{f.listing.per_thread_suffix}"
            asked = (base, f.listing.per_thread_version, PER_THREAD)
            assert find(hook, *asked) == (SUCCESS, address(hook, variant)), variant


def test_the_newest_version_is_found_by_a_later_driver(hook: ctypes.CDLL, table: Table) -> None:
    newest: dict[str, tuple[int, str]] = {}
    for f in table.functions:
        if f.listing.base is not None:
            newest[f.listing.base] = max(newest.get(f.listing.base, (0, "")), (f.listing.version, f.name))
    for base, (_, symbol) in newest.items():
        assert find(hook, base, 99000, 0) == (SUCCESS, address(hook, symbol)), base


@pytest.mark.parametrize("name", ["cuNoSuchFunction", "cuMemAlloc_v2", "a", "zzz", "cuInit "])
def test_a_name_that_is_none_is_not_found(hook: ctypes.CDLL, name: str) -> None:
    assert find(hook, name, 13000, 0) == (NOT_FOUND, None)


def test_the_support_matrix_is_up_to_date(table: Table) -> None:
    written = (ROOT / "docs" / "support.md").read_text(encoding="utf-8")
    assert written == emit_docs.emit(table, seen.load(ROOT / "docs" / "seen.json")), (
        "docs/support.md is not what the table says: "
        "python kernel_hook/codegen/__main__.py kernel_hook/api/driver.api --support docs/support.md"
    )
