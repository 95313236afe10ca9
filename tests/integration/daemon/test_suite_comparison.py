"""tests/gpu/cuda_bindings_suite.py on a small suite: what differs between the sides is found, also behind a crash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "gpu" / "cuda_bindings_suite.py"

SUITE = """
import os
import pytest

UNDER_A_SLICE = "TFUSION_TOKEN" in os.environ

def test_alike(): pass
def test_fails_on_both(): assert False
def test_fails_hooked(): assert not UNDER_A_SLICE, "a difference"
def test_crashes_hooked():
    if UNDER_A_SLICE: os.abort()
def test_behind_the_crash(): pass
def test_skipped_hooked():
    if UNDER_A_SLICE: pytest.skip("not here")
@pytest.fixture
def breaks():
    yield
    assert not UNDER_A_SLICE, "in the end"
def test_tear_down_fails_hooked(breaks): pass
def test_passes_hooked(): assert UNDER_A_SLICE
"""


def test_what_passes_natively_and_not_hooked_is_listed(tmp_path: Path) -> None:
    suite = tmp_path / "suite"
    suite.mkdir()
    (suite / "test_small.py").write_text(SUITE)
    command = [sys.executable, str(SCRIPT), str(suite), "--device", "software", "--memory", "64MiB"]
    done = subprocess.run(
        [*command, "--vram", "16MiB"], cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    said = done.stdout.splitlines()
    assert said[0] == "natively: 2 failed, 6 passed"
    assert said[1] == "hooked: 1 crashed, 3 failed, 3 passed, 1 skipped"
    listed = dict(line.strip().split(": ", 1) for line in said[3:])
    assert {name.split("::")[1]: text.split()[0] for name, text in listed.items()} == {
        "test_fails_hooked": "failed",
        "test_crashes_hooked": "crashed",
        "test_skipped_hooked": "skipped",
        "test_tear_down_fails_hooked": "failed",
    }


def test_alike_sides_are_no_failure(tmp_path: Path) -> None:
    suite = tmp_path / "suite"
    suite.mkdir()
    (suite / "test_small.py").write_text(SUITE)
    command = [sys.executable, str(SCRIPT), str(suite), "--device", "software", "--memory", "64MiB"]
    done = subprocess.run(
        [*command, "--vram", "16MiB", "--", "-k", "alike or both"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 pass natively and not hooked" in done.stdout
