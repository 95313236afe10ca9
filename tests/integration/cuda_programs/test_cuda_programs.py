"""The CUDA C++ programs of tests/gpu/cuda that need no more than the software GPU has, under a slice of it.

Compiled to PTX for compute capability 7.5. On an NVIDIA GPU all of them run, and are compared with the GPU itself.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gpu_server.client import ControlClient

pytestmark = [
    pytest.mark.nvcc,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("nvcc") is None, reason="there is no nvcc on this machine"),
]

PROGRAMS = Path(__file__).parents[2] / "gpu" / "cuda"
ON_THE_SOFTWARE_GPU = (
    "arrays",
    "atomics",
    "contexts",
    "copies",
    "device_assert",
    "device_heap",
    "device_printf",
    "errors_plain",
    "errors_sticky",
    "graphs_capture",
    "graphs_explicit",
    "host_functions",
    "launch_attributes",
    "managed",
    "occupancy",
    "peers_ipc",
    "pinned_mapped",
    "pools",
    "ptx_modules",
    "streams_events",
    "surfaces",
    "symbols",
    "textures",
    "threads",
    "virtual_memory",
)


@pytest.mark.parametrize("name", ON_THE_SOFTWARE_GPU)
def test_every_part_of_a_program_passes(software_daemon: ControlClient, tmp_path: Path, name: str) -> None:
    source, program = PROGRAMS / f"{name}.cu", tmp_path / name
    target = ["-gencode", "arch=compute_75,code=compute_75"]
    compiler = ["nvcc", "-std=c++17", *target, "-o", str(program), str(source), "-ldl"]
    built = subprocess.run(compiler, capture_output=True, text=True, timeout=240, check=False)
    assert built.returncode == 0, built.stderr
    tfusion = [sys.executable, "-m", "gpu_server.cli", "run", "--server", str(software_daemon.socket)]
    done = subprocess.run(
        [*tfusion, "--vram", "256MiB", "--", str(program)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    said = f"{done.stdout}\n{done.stderr}"
    assert "FAIL" not in done.stdout, said
    assert done.returncode == 0, said
    assert done.stdout.count("PASS ") == source.read_text().count("  pass("), said
