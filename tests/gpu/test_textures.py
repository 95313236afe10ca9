"""Textures and surfaces on an NVIDIA GPU: under a slice as natively, and the software GPU's against them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SAMPLES = str(Path(__file__).with_name("samples.py"))
# A filter's weights have eight bits; how a GPU rounds to them is its own, on each axis and for levels.
TOLERANCE = 3 / 256


def cases(result: subprocess.CompletedProcess[str]) -> dict[str, list[float]]:
    assert result.returncode == 0, result.stdout + result.stderr
    return {case["case"]: case["values"] for case in map(json.loads, result.stdout.splitlines())}


@pytest.fixture(scope="module")
def native(host: Any) -> dict[str, list[float]]:
    return cases(host.native(sys.executable, SAMPLES))


def test_a_slice_samples_as_the_gpu_does_to_the_last_bit(host: Any, native: dict[str, list[float]]) -> None:
    assert cases(host.hooked("1GiB", sys.executable, SAMPLES)) == native


def test_the_software_gpu_samples_as_the_gpu_does(native: dict[str, list[float]], tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    socket = tmp_path / "control.sock"
    reader, writer = os.pipe()
    serve = [sys.executable, "-m", "gpu_server.cli", "serve", "--device", "software", "--socket", str(socket)]
    daemon = subprocess.Popen([*serve, "--ready-fd", str(writer)], pass_fds=(writer,))
    os.close(writer)
    try:
        with open(reader) as report:
            assert report.read() == "ready\n"
        run = [
            sys.executable,
            "-m",
            "gpu_server.cli",
            "run",
            "--server",
            str(socket),
            "--vram",
            "256MiB",
            "--",
        ]
        done = subprocess.run(
            [*run, sys.executable, SAMPLES], capture_output=True, text=True, timeout=300, check=False
        )
    finally:
        daemon.terminate()
        daemon.wait(60)
    software = cases(done)
    assert set(software) == set(native)
    apart = {
        case: float(np.abs(np.array(software[case]) - np.array(native[case])).max())
        for case in sorted(native)
    }
    # A border of 9 beside texels below 1 makes a step nine times as high.
    allowed = {case: TOLERANCE * (10 if "border" in case else 1) for case in apart}
    assert {case: by for case, by in apart.items() if by > allowed[case]} == {}
