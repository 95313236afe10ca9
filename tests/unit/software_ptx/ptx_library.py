"""Builds the test library of this folder: the PTX compiler and executor with the C interface of shim.cpp.

Objects are kept in a cache folder and named by what they are made of, so only changed files are compiled again.
Called by conftest.py; `python ptx_library.py` builds by hand and prints the library's path.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOFTWARE = HERE.parents[2] / "gpu_server" / "software"
FLAGS = ["-std=c++20", "-fPIC", "-fvisibility=hidden"]  # warnings are the main build's business
INCLUDE = re.compile(r'^\s*#include "([^"]+)"', re.MULTILINE)


def cache_folder() -> Path:
    """Where objects are kept: $TFUSION_TEST_CACHE, else a folder of this user's cache."""
    chosen = os.environ.get("TFUSION_TEST_CACHE")
    base = (
        Path(chosen)
        if chosen
        else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tfusion-tests"
    )
    folder = base / "software_ptx"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def compiler() -> str:
    """The C++ compiler; RuntimeError if there is none."""
    found = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if found is None:
        raise RuntimeError("The PTX tests need a C++20 compiler. Install g++ (12 or later) or set CXX.")
    return found


def read_with_includes(path: Path, seen: set[Path]) -> bytes:
    """A file's text and that of the project's headers it includes, each once."""
    path = path.resolve()
    if path in seen:
        return b""
    seen.add(path)
    text = path.read_text()
    parts = [read_with_includes(path.parent / name, seen) for name in INCLUDE.findall(text)]
    return text.encode() + b"".join(parts)


def build(optimisation: str = "-O3", extra: tuple[str, ...] = ()) -> Path:
    """Compiles what changed, links, and returns the path of the shared library."""
    folder = cache_folder()
    cxx = compiler()
    command_line = " ".join([cxx, optimisation, *extra, *FLAGS]).encode()
    sources = [
        *sorted((SOFTWARE / "ptx").glob("*.cpp")),
        SOFTWARE / "address_space.cpp",
        SOFTWARE / "texture_table.cpp",
        HERE / "shim.cpp",
    ]
    # The lane handlers take longest: they go first.
    sources.sort(key=lambda source: not source.name.startswith("lanes_"))

    def compile_one(source: Path) -> Path:
        key = hashlib.sha256(command_line + read_with_includes(source, set())).hexdigest()[:20]
        target = folder / f"{source.stem}-{key}.o"
        if not target.exists():
            with tempfile.NamedTemporaryFile(dir=folder, suffix=".o", delete=False) as scratch:
                pass
            command = [cxx, *FLAGS, optimisation, *extra, "-c", str(source), "-o", scratch.name]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                os.unlink(scratch.name)
                raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
            os.replace(scratch.name, target)
        return target

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        objects = list(pool.map(compile_one, sources))
    key = hashlib.sha256("".join(path.name for path in objects).encode()).hexdigest()[:20]
    library = folder / f"software_ptx_test-{key}.so"
    if not library.exists():
        scratch_name = f"{library}.{os.getpid()}"
        command = [cxx, *extra, "-shared", "-o", scratch_name, *map(str, objects), "-lpthread"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
        os.replace(scratch_name, library)
    return library


if __name__ == "__main__":
    print(build())
