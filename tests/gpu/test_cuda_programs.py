"""Programs in CUDA C++, one for each part of the API (tests/gpu/cuda): natively and under a slice they print the same.

Each is compiled at test time, for the GPU of this machine. Those that use a library say so in a line `// libraries:`;
they are skipped where its headers or the library itself are missing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(shutil.which("nvcc") is None, reason="there is no nvcc on this machine")

SOURCES = sorted((Path(__file__).parent / "cuda").glob("*.cu"))
# A slice's runtime says once on stderr which call it refused; a program's own stderr is compared by lines like these.
TOLD_ON_STDERR = re.compile(r"Assertion .* failed")


def toolkit_folders() -> list[Path]:
    """Where headers and libraries of CUDA may lie: nvcc's own toolkit, and wheels in this environment."""
    nvcc = Path(shutil.which("nvcc") or "nvcc").resolve()
    site = Path(sysconfig.get_paths()["platlib"]) / "nvidia"
    return [nvcc.parents[1], *Path("/usr/local").glob("cuda"), *(site.glob("*") if site.is_dir() else ())]


def find_library(name: str) -> Path | None:
    """The shared library itself; wheels have no name without a version to link with."""
    for folder in toolkit_folders():
        for sub in ("lib64", "lib", "targets/x86_64-linux/lib"):
            found = sorted((folder / sub).glob(f"lib{name}.so*"))
            if found:
                return found[0]
    return None


def libraries_of(source: Path) -> list[str]:
    match = re.search(r"^// libraries: (.*)$", source.read_text(), re.MULTILINE)
    return match[1].split() if match else []


def compile_program(source: Path, folder: Path) -> Path | str:
    """Compiles it into `folder`; the program, or why there is nothing to compile with. Fails if it does not compile."""
    program = folder / source.stem
    command = ["nvcc", "-std=c++17", "-arch=native", "-o", str(program), str(source), "-ldl"]
    libraries = libraries_of(source)
    if libraries:
        headers = re.findall(r"#include <(cu(?:blas_v2|fft|rand|solverDn|sparse)\.h)>", source.read_text())
        includes = [path for path in (f / "include" for f in toolkit_folders()) if path.is_dir()]
        for header in headers:
            if not any((path / header).exists() for path in includes):
                return f"{header} is not on this machine"
        # Behind the toolkit's own, or its headers and those of a wheel would mix.
        command += [part for path in includes for part in ("-Xcompiler", f"-idirafter,{path}")]
        for name in libraries:
            path = find_library(name)
            if path is None:
                return f"lib{name} is not on this machine"
            command += ["-Xlinker", f"{path},-rpath={path.parent},--allow-shlib-undefined"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{source.name} does not compile:\n{done.stderr}"
    return program


@pytest.fixture(scope="session")
def compiled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Future[Path | str]]:
    """All chosen programs, being compiled side by side."""
    folder = tmp_path_factory.mktemp("cuda-programs")
    chosen = {
        item.callspec.params["source"]
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and hasattr(item, "callspec")
        and "source" in item.callspec.params
    }
    pool = ThreadPoolExecutor(max_workers=os.cpu_count() or 1)
    return {source.stem: pool.submit(compile_program, source, folder) for source in sorted(chosen)}


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_a_program_prints_the_same_natively_and_under_a_slice(
    host: Any, compiled: dict[str, Future[Path | str]], source: Path
) -> None:
    built = compiled[source.stem].result()
    if isinstance(built, str):
        pytest.skip(built)
    program = str(built)
    native = host.native(program)
    assert native.returncode == 0, f"natively: {native.stdout}\n{native.stderr}"
    assert "FAIL" not in native.stdout
    assert "PASS" in native.stdout or "SKIP" in native.stdout
    hooked = host.hooked("4GiB", program)
    assert hooked.stdout == native.stdout, hooked.stderr
    assert hooked.returncode == 0, hooked.stderr
    assert TOLD_ON_STDERR.findall(hooked.stderr) == TOLD_ON_STDERR.findall(native.stderr)
