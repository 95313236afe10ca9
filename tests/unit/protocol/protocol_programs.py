"""Compiles the C++ tests of this folder: one program each, rebuilt when anything that it is made of changed."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
FLAGS = "-std=c++20 -O1 -g -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror".split()
SANITIZED = "-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer".split()


@dataclass(frozen=True)
class Program:
    """A test program: its own source, what of the project it is linked with, and macros."""

    source: str
    parts: tuple[str, ...] = ()
    defines: tuple[str, ...] = ()
    cuda: bool = False


SHA256 = "kernel_hook/protocol/sha256.cpp"
MD2 = "kernel_hook/src/md2.cpp"
PORTABLE = ("TFUSION_SHA256_PORTABLE",)
PROGRAMS = {
    "sha256": Program("sha256_test.cpp", (SHA256,)),
    "sha256-portable": Program("sha256_test.cpp", (SHA256,), PORTABLE),
    "digests": Program("digests.cpp", (SHA256, MD2)),
    "digests-portable": Program("digests.cpp", (SHA256, MD2), PORTABLE),
    "md2": Program("md2_test.cpp", (MD2,)),
    "handle": Program("handle_test.cpp"),
    "ranges": Program("ranges_test.cpp"),
    "array_shape": Program("array_shape_test.cpp"),
    "command": Program("command_test.cpp", ("gpu_server/replay/ring_reader.cpp",)),
    "ring": Program("ring_test.cpp", ("gpu_server/replay/ring_reader.cpp",)),
    "image_cache": Program("image_cache_test.cpp", ("gpu_server/replay/image_cache.cpp", SHA256)),
    "device_text": Program("device_text_test.cpp", ("gpu_server/replay/device_text.cpp",)),
    "account": Program("account_test.cpp", ("gpu_server/replay/account.cpp",)),
    "host_store": Program("host_store_test.cpp", ("gpu_server/replay/host_store.cpp",)),
    "mapping_budget": Program("mapping_budget_test.cpp"),
    "turn": Program("turn_test.cpp", ("gpu_server/replay/turn.cpp",)),
    "jit_options": Program("jit_options_test.cpp", ("gpu_server/replay/jit_options.cpp",), cuda=True),
}


def cuda_include() -> Path | None:
    """The folder of cuda.h in the wheel nvidia-cuda-runtime; None if it is not installed."""
    try:
        found = importlib.util.find_spec("nvidia.cu13")
    except ModuleNotFoundError:
        return None
    for folder in (found.submodule_search_locations if found else None) or ():
        include = Path(folder) / "include"
        if (include / "cuda.h").is_file():
            return include
    return None


def generate(folder: Path) -> Path:
    """Runs the generator over the real table; gives the folder of the headers."""
    command = [
        sys.executable,
        str(ROOT / "kernel_hook/codegen/__main__.py"),
        str(ROOT / "kernel_hook/api/driver.api"),
    ]
    done = subprocess.run([*command, str(folder / "generated")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "generated"


def _inputs(name: str, program: Program, generated: Path) -> list[Path]:
    headers = [
        *HERE.glob("*.hpp"),
        *(ROOT / "kernel_hook/protocol").glob("*.hpp"),
        *(ROOT / "kernel_hook/src").glob("*.hpp"),
        *(ROOT / "gpu_server/replay").glob("*.hpp"),
        *generated.glob("*.hpp"),
    ]
    return [HERE / program.source, *(ROOT / part for part in program.parts), *sorted(headers)]


def build(name: str, folder: Path) -> Path:
    """Builds PROGRAMS[name] in `folder`, which parallel test processes may share; gives the program."""
    compiler = shutil.which("g++") or shutil.which("c++")
    assert compiler, "There is no C++ compiler (g++)."
    program = PROGRAMS[name]
    with open(folder / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with open(folder / "generate.lock", "w") as generating:
            fcntl.flock(generating, fcntl.LOCK_EX)
            generated = generate(folder)
        command = [compiler, *FLAGS, *SANITIZED, *(f"-D{macro}" for macro in program.defines)]
        command += [f"-I{ROOT / 'kernel_hook'}", f"-I{ROOT / 'gpu_server'}", f"-I{generated}", f"-I{HERE}"]
        if program.cuda:
            include = cuda_include()
            assert include, "cuda.h is missing: install the wheel nvidia-cuda-runtime."
            command += ["-isystem", str(include), "-D__CUDA_API_VERSION_INTERNAL"]
        command += [str(HERE / program.source), *(str(ROOT / part) for part in program.parts), "-pthread"]
        digest = hashlib.sha256(repr(command).encode())
        for path in _inputs(name, program, generated):
            digest.update(path.read_bytes())
        target, stamp = folder / name, folder / f"{name}.inputs"
        if not (target.exists() and stamp.exists() and stamp.read_text() == digest.hexdigest()):
            done = subprocess.run([*command, "-o", str(target)], capture_output=True, text=True)
            assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
            stamp.write_text(digest.hexdigest())
    return target
