"""Finds the software GPU that is installed, and gives each test a fresh primary context."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpu_server.driver_library import find_software_gpu

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # pytest's importlib mode leaves it out

from software_gpu import Driver  # noqa: E402


@pytest.fixture(scope="session")
def library_path() -> Path:
    """Path of the software GPU's libcuda.so.1: the installed one, or what TFUSION_SOFTWARE_GPU_LIB names."""
    return find_software_gpu()


@pytest.fixture(scope="session")
def initialised(library_path: Path) -> Driver:
    """The driver after cuInit, with its own 1 GiB of memory."""
    for name in ("TFUSION_SOFTWARE_MEMORY", "TFUSION_SOFTWARE_STATE"):
        os.environ.pop(name, None)
    driver = Driver(library_path)
    driver("cuInit", 0)
    return driver


@pytest.fixture
def driver(initialised: Driver) -> Iterator[Driver]:
    """The driver with the primary context current; the context is reset afterwards, whatever became of it."""
    context = initialised.get("cuDevicePrimaryCtxRetain", 0)
    initialised("cuCtxSetCurrent", context)
    yield initialised
    initialised("cuDevicePrimaryCtxReset_v2", 0)
    current = ctypes.c_uint64(1)
    while current.value:
        initialised("cuCtxSetCurrent", None)
        initialised("cuCtxGetCurrent", ctypes.byref(current))


@pytest.fixture
def run_script(library_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python code in a process of its own, with `driver` (before cuInit) and this folder's names at hand."""

    def run(code: str, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", script(library_path, code)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=script_environment(environment),
        )

    return run


@pytest.fixture
def start_script(library_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """As run_script, but the process goes on beside the test, with pipes to talk to it; it is killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", script(library_path, code)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=script_environment(environment),
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def script(library: Path, code: str) -> str:
    """Put the preamble before a script."""
    return f"from software_gpu import *\nfrom pathlib import Path\ndriver = Driver(Path({str(library)!r}))\n{code}"


def script_environment(changes: dict[str, str]) -> dict[str, str]:
    """The environment of a script: this one's, without settings of the software GPU, plus `changes`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TFUSION_SOFTWARE_")}
    return kept | {"PYTHONPATH": str(HERE)} | changes
