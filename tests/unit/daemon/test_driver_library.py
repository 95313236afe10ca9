"""The driver is found where drivers are installed, and is never our own hook."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_server import driver_library
from gpu_server.driver_library import HOOK_MARK, find_host_driver, find_software_gpu, is_hook
from gpu_server.errors import TFusionError


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    found = [tmp_path / "first", tmp_path / "second"]
    for folder in found:
        folder.mkdir()
    monkeypatch.setattr(driver_library, "KNOWN_FOLDERS", tuple(str(folder) for folder in found))
    monkeypatch.setattr(driver_library, "_linker_cache", lambda: iter(()))
    return found


def library(path: Path, content: bytes = b"\x7fELF a driver") -> Path:
    path.write_bytes(content)
    return path


def test_the_first_folder_that_has_a_driver_wins(folders: list[Path]) -> None:
    assert find_host_driver() is None
    second = library(folders[1] / "libcuda.so.1")
    assert find_host_driver() == second
    first = library(folders[0] / "libcuda.so.1")
    assert find_host_driver() == first


def test_a_hook_in_the_way_is_passed_over(folders: list[Path]) -> None:
    library(folders[0] / "libcuda.so.1", b"x" * 5000 + HOOK_MARK + b"\0")
    driver = library(folders[1] / "libcuda.so.1")
    assert find_host_driver() == driver


def test_a_configured_path_is_taken_or_refused_with_its_name(folders: list[Path], tmp_path: Path) -> None:
    named = library(tmp_path / "mine.so")
    assert find_host_driver(str(named)) == named
    with pytest.raises(TFusionError, match="not a file"):
        find_host_driver(str(tmp_path / "missing.so"))
    hook = library(tmp_path / "hook.so", HOOK_MARK)
    with pytest.raises(TFusionError, match="client-side hook"):
        find_host_driver(str(hook))


def test_an_empty_file_is_no_hook(tmp_path: Path) -> None:
    assert not is_hook(library(tmp_path / "empty", b""))


def test_the_software_gpu_comes_from_the_setting_the_variable_or_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = library(tmp_path / "one.so"), library(tmp_path / "two.so")
    monkeypatch.setenv("TFUSION_SOFTWARE_GPU_LIB", str(two))
    assert find_software_gpu(str(one)) == one
    assert find_software_gpu() == two
    monkeypatch.setenv("TFUSION_SOFTWARE_GPU_LIB", str(tmp_path / "gone"))
    with pytest.raises(TFusionError, match="TFUSION_SOFTWARE_GPU_LIB is .*gone"):
        find_software_gpu()
    monkeypatch.delenv("TFUSION_SOFTWARE_GPU_LIB")
    monkeypatch.setattr(driver_library, "SOFTWARE_LIBRARY", tmp_path / "not-built")
    with pytest.raises(TFusionError, match="software GPU is missing"):
        find_software_gpu()


@pytest.mark.skipif(
    not (Path(driver_library.__file__).parents[1] / "kernel_hook" / "lib" / "libcuda.so.1").exists(),
    reason="the hook was not built",
)
def test_the_real_hook_carries_the_mark() -> None:
    assert is_hook(Path(driver_library.__file__).parents[1] / "kernel_hook" / "lib" / "libcuda.so.1")


@pytest.mark.skipif(not driver_library.SOFTWARE_LIBRARY.exists(), reason="the software GPU was not built")
def test_the_real_software_gpu_does_not() -> None:
    assert not is_hook(driver_library.SOFTWARE_LIBRARY)
