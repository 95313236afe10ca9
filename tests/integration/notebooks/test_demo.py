"""`make demo`: three kernels under slices of one GPU, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

DEMO = Path(__file__).resolve().parents[3] / "examples" / "demo.py"

pytestmark = pytest.mark.timeout(400)


def environment(folder: Path) -> dict[str, str]:
    """A home and a temporary folder of the demo's own, so that whatever it leaves behind is found."""
    temporary = folder / "tmp"
    temporary.mkdir()
    return {**os.environ, "HOME": str(folder), "TMPDIR": str(temporary), "TFUSION_DEMO": str(folder)}


def left_behind(folder: Path) -> tuple[list[str], list[int]]:
    """Files below the folder, and processes that were started with it in their environment."""
    files = [str(path) for path in folder.rglob("*") if path.is_file() or path.is_socket()]
    processes = []
    for process in psutil.process_iter():
        try:
            if (
                process.environ().get("TFUSION_DEMO") == str(folder)
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                processes.append(process.pid)
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            continue
    return files, processes


def test_the_demo_runs_three_learners_and_leaves_nothing_behind(short_folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(DEMO)],
        env=environment(short_folder),
        cwd=short_folder,
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    table = [line for line in done.stdout.splitlines() if line.endswith("checks out")]
    assert len(table) == 3
    slices = {line.split()[2] for line in table}
    assert len(slices) == 3, "each learner had a slice of their own"
    assert left_behind(short_folder) == ([], [])


def test_an_interrupted_demo_leaves_nothing_behind(short_folder: Path) -> None:
    demo = subprocess.Popen(
        [sys.executable, str(DEMO)],
        env=environment(short_folder),
        cwd=short_folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert demo.stdout is not None
    for line in demo.stdout:
        if "learners share" in line:
            break
    demo.send_signal(signal.SIGTERM)
    _, errors = demo.communicate(timeout=120)
    assert demo.returncode == 130, errors
    assert "interrupted" in errors
    assert left_behind(short_folder) == ([], [])


def test_a_demo_that_cannot_start_says_why_and_exits_1(short_folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(DEMO)],
        env={**environment(short_folder), "TFUSION_SOFTWARE_GPU_LIB": "/nowhere/libcuda.so.1", "PATH": ""},
        cwd=short_folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if "NVIDIA" in done.stdout:
        pytest.skip("this machine has an NVIDIA GPU, which the demo prefers")
    assert done.returncode == 1
    assert "TFUSION_SOFTWARE_GPU_LIB" in done.stderr
    assert "Traceback" not in done.stderr
    assert left_behind(short_folder) == ([], [])
