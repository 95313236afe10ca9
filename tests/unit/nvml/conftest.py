"""Builds the hook's libnvidia-ml.so.1 as CMake does, and a libcuda.so.1 with a session that tests begin by hand."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
HOOK = HERE.parents[2] / "kernel_hook"
NVML = HOOK / "nvml"
FLAGS = (
    "-std=c++20 -O1 -fPIC -fvisibility=hidden -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror "
    "-D__CUDA_API_VERSION_INTERNAL"
).split()
LIBRARY = "-shared -static-libstdc++ -static-libgcc -Wl,-z,defs -Wl,--exclude-libs,ALL".split()
SLICE = "0f3c"
UNDER_SLICE = {
    "TFUSION_SLICE": SLICE,
    "TFUSION_VRAM_BYTES": str(4 << 30),
    "TFUSION_GPU_NAME": "NVIDIA H200",
    "TFUSION_DRIVER_VERSION": "580.159.03",
}

# What a script of ask() starts with: the session's controls, and results instead of exceptions.
PRELUDE = """
import ctypes, json, os
from pynvml import *
import pynvml
def result(function, *arguments):
    try:
        function(*arguments)
        return 0
    except NVMLError as error:
        return error.value
hook = ctypes.CDLL("libcuda.so.1") if "libcuda.so.1" in os.environ.get("LD_PRELOAD", "") else None
def begin(name=b"NVIDIA H200", total=2 << 30, driver=13000, **attributes):
    hook.session_begin(name, ctypes.c_uint64(total), driver)
    for number, value in attributes.items():
        hook.session_attribute(int(number[1:]), value)
def use(n):
    hook.session_use(ctypes.c_uint64(n))
"""


def compile_cpp(output: Path, *arguments: str | Path) -> Path:
    """Runs the C++ compiler; its complaint is the failure."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.fail("The NVML tests need a C++20 compiler. Install g++ (11 or later) or set CXX.")
    includes = [f"-I{HOOK}", f"-I{NVML}"]
    done = subprocess.run(
        [compiler, *FLAGS, *includes, *map(str, arguments), "-o", str(output)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return output


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The libnvidia-ml.so.1 under test, alone in its folder."""
    folder = tmp_path_factory.mktemp("nvml")
    refused = folder / "refused.cpp"
    subprocess.run([sys.executable, NVML / "emit_refused.py", NVML / "nvml.api", refused], check=True)
    library = folder / "lib" / "libnvidia-ml.so.1"
    library.parent.mkdir()
    return compile_cpp(
        library,
        *LIBRARY,
        "-Wl,-soname,libnvidia-ml.so.1",
        f"-Wl,--version-script={NVML / 'exports.map'}",
        *sorted(NVML.glob("*.cpp")),
        HOOK / "protocol" / "sha256.cpp",
        refused,
    )


@pytest.fixture(scope="session")
def hook_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A libcuda.so.1 that answers NVML's questions with the hook's own code, over session.cpp."""
    found = importlib.util.find_spec("nvidia.cu13")
    places = [] if found is None else list(found.submodule_search_locations or [])
    headers = next((Path(p) / "include" for p in places if (Path(p) / "include" / "cuda.h").is_file()), None)
    if headers is None:
        pytest.fail("cuda.h was not found. Install the wheel nvidia-cuda-runtime==13.0.*")
    return compile_cpp(
        tmp_path_factory.mktemp("hook") / "libcuda.so.1",
        *LIBRARY,
        f"-isystem{headers}",
        "-Wl,-soname,libcuda.so.1",
        HERE / "session.cpp",
        HOOK / "src" / "slice_use.cpp",
        HOOK / "src" / "visible_devices.cpp",
        HOOK / "protocol" / "sha256.cpp",
    )


@pytest.fixture(scope="session")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What layout.cpp prints."""
    program = compile_cpp(tmp_path_factory.mktemp("layout") / "layout", HERE / "layout.cpp")
    printed: dict[str, Any] = json.loads(subprocess.run([program], capture_output=True, check=True).stdout)
    return printed


@pytest.fixture
def ask(nvml_library: Path) -> Callable[..., Any]:
    """Runs a script that uses pynvml in a process of its own; gives what it assigns to `answer`.

    Keyword arguments are environment variables; ``hook`` is a libcuda.so.1 to preload.
    """

    def run(script: str, hook: Path | None = None, **variables: str) -> Any:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("TFUSION_", "LD_", "CUDA_"))}
        environment = {**kept, **variables, "LD_LIBRARY_PATH": str(nvml_library.parent)}
        if hook is not None:
            environment["LD_PRELOAD"] = str(hook)
        code = f"{PRELUDE}\n{textwrap.dedent(script)}\nprint(json.dumps(answer))"
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture
def under_slice() -> dict[str, str]:
    """The environment of a process under a slice, as far as NVML looks at it."""
    return dict(UNDER_SLICE)
