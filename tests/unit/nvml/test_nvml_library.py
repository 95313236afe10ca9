"""libnvidia-ml.so.1 as a file: what it exports and needs, its table, and its structures."""

from __future__ import annotations

import ctypes
import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pynvml
import pytest

NVML = Path(__file__).resolve().parents[3] / "kernel_hook" / "nvml"


@pytest.fixture(scope="module")
def emit_refused() -> ModuleType:
    spec = importlib.util.spec_from_file_location("emit_refused", NVML / "emit_refused.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def output(*command: str | Path) -> str:
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True).stdout


def test_it_exports_what_nvidias_does_and_nothing_else(nvml_library: Path, emit_refused: ModuleType) -> None:
    exported = [line.split()[-1] for line in output("nm", "-D", "--defined-only", nvml_library).splitlines()]
    table = emit_refused.read_table(NVML / "nvml.api")
    assert sorted(exported) == sorted(table)
    assert len(table) == 404  # of driver 580


def test_it_needs_nothing_but_the_c_library(nvml_library: Path) -> None:
    dynamic = output("readelf", "-d", nvml_library)
    needed = {line.split("[")[1].rstrip("]") for line in dynamic.splitlines() if "(NEEDED)" in line}
    loaders = {name for name in needed if name.startswith("ld-linux")}  # part of the C library
    assert needed - loaders == {"libc.so.6"}
    assert "soname: [libnvidia-ml.so.1]" in dynamic


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("refused nvmlA\n\nanswerd nvmlB\n", "nvml.api:3: expected .* not 'answerd nvmlB'"),
        ("refused nvmlA\nrefused cuInit\n", "nvml.api:2: expected"),
        ("refused nvmlA\nanswered nvmlA # why\n", "nvml.api:2: nvmlA is there twice"),
    ],
)
def test_a_fault_of_the_table_is_named_by_its_line(
    emit_refused: ModuleType, tmp_path: Path, text: str, fault: str
) -> None:
    table = tmp_path / "nvml.api"
    table.write_text(text)
    with pytest.raises(emit_refused.TableError, match=fault):
        emit_refused.read_table(table)
    assert emit_refused.main([str(table), str(tmp_path / "out.cpp")]) == 1


def test_structures_are_laid_out_as_nvidias_binding_says(layouts: dict[str, Any]) -> None:
    assert set(layouts) == {
        "c_nvmlMemory_t", "c_nvmlMemory_v2_t", "nvmlPciInfo_v2_t", "nvmlPciInfo_t", "c_nvmlUUID_t",
        "c_nvmlUtilization_t", "c_nvmlProcessInfo_v2_t", "c_nvmlProcessDetail_v1_t", "c_nvmlProcessDetailList_v1_t",
        "c_nvmlProcessUtilizationSample_t", "c_nvmlProcessUtilizationInfo_v1_t",
        "c_nvmlProcessesUtilizationInfo_v1_t", "c_nvmlFieldValue_t",
    }  # fmt: skip
    for name, ours in layouts.items():
        theirs = getattr(pynvml, name)
        assert ours["size"] == ctypes.sizeof(theirs), name
        fields = {
            field: [getattr(theirs, field).offset, getattr(theirs, field).size]
            for field, *_ in theirs._fields_
            if not field.startswith("reserved") or field == "reserved"
        }
        assert ours["fields"] == fields, name


def test_versions_of_structures_are_nvidias(layouts: dict[str, Any]) -> None:
    assert layouts["c_nvmlMemory_v2_t"]["version"] == pynvml.nvmlMemory_v2
    assert layouts["c_nvmlUUID_t"]["version"] == pynvml.nvmlUUID_v1
    assert layouts["c_nvmlProcessDetailList_v1_t"]["version"] == pynvml.nvmlProcessDetailList_v1
    assert layouts["c_nvmlProcessesUtilizationInfo_v1_t"]["version"] == pynvml.ProcessesUtilizationInfo_v1
