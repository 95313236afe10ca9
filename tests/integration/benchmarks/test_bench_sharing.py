"""`make bench-sharing` rehearsed on the software GPU: two experiments, their rows, and the JSON that is left."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"

pytestmark = pytest.mark.timeout(300)


def rehearse(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, str(BENCHMARKS / "run_sharing.py"), "--rehearse", "--seconds", "0.2"]
    return subprocess.run(
        [*program, *options], cwd=folder, capture_output=True, text=True, timeout=280, check=False
    )


def test_a_swapped_slice_wakes_and_a_burst_gets_its_turn(tmp_path: Path) -> None:
    done = rehearse(tmp_path, "--only", "wake,burst", "--repeats", "1", "--json", "all.json")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "| `wake` | 1 GiB swapped out: next call answered |" in done.stdout
    assert done.stdout.count("| `burst` |") == 3
    assert "wake" in json.dumps(json.loads((tmp_path / "all.json").read_text()))


def test_an_experiment_that_does_not_exist_is_named(tmp_path: Path) -> None:
    done = rehearse(tmp_path, "--only", "wake,no_such")
    assert done.returncode != 0
    assert "no_such" in done.stderr
