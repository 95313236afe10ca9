"""`make bench-gpu` rehearsed on the software GPU: what it writes, and that a workload that fails stops no other."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"

pytestmark = pytest.mark.timeout(300)


def rehearse(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, str(BENCHMARKS / "run_gpu.py"), "--rehearse", "--seconds-per-round", "0.02"]
    return subprocess.run(
        [*program, *options], cwd=folder, capture_output=True, text=True, timeout=280, check=False
    )


def test_pairs_of_rounds_and_fresh_processes_are_measured_on_both_sides(tmp_path: Path) -> None:
    only = "first_driver,copy_up_pageable,copy_down_pinned"
    done = rehearse(tmp_path, "--pairs", "3", "--only", only, "--json", "all.json", "--plot", "all.svg")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    told = json.loads((tmp_path / "all.json").read_text())
    assert {w["name"] for w in told["workloads"]} == {"copy_up_pageable", "copy_down_pinned"}
    for workload in told["workloads"]:
        assert len(workload["ms"]["native"]) == len(workload["ms"]["hooked"]) == len(workload["ratios"]) == 3
        assert min(workload["ms"]["native"] + workload["ms"]["hooked"]) > 0
        assert workload["equal"]
        assert workload["repeats"]
        assert workload["memory"]["hooked"]["hook_library_rss"] > 0
        assert workload["memory"]["worker"]["rss"] > 0
        # 16 MiB went through the shared mappings of the session.
        assert workload["memory"]["hooked"]["shared_rss"] > 1 << 20
        assert f"`{workload['name']}`" in done.stdout
    starts = told["starts"][0]
    assert len(starts["first_ms"]["hooked"]) == len(starts["first_ms"]["native"]) == 3
    # The plot needs matplotlib, which the package's extra [demo] brings.
    if "No plot" not in done.stderr:
        assert "copy_up_pageable" in (tmp_path / "all.svg").read_text()


def test_what_does_not_fit_the_budget_is_named(tmp_path: Path) -> None:
    done = rehearse(tmp_path, "--pairs", "1", "--only", "memset,copy_up_pinned", "--budget-s", "1e-9")
    assert done.returncode == 0, done.stderr
    assert "Not run, for want of time: `memset`, `copy_up_pinned`" in done.stdout


def test_an_unknown_name_is_refused_with_those_there_are(tmp_path: Path) -> None:
    done = rehearse(tmp_path, "--only", "mlp,no_such")
    assert done.returncode != 0
    assert "No workload is named no_such" in done.stderr
    assert "gpt2_train" in done.stderr


def test_all_workloads_can_be_listed_without_their_libraries(tmp_path: Path) -> None:
    names = [line.split()[0] for line in rehearse(tmp_path, "--list").stdout.splitlines()]
    assert len(names) == len(set(names))
    assert {"mlp", "loader", "amp", "vit", "lora", "triton", "jax_train", "numba_stencil"} <= set(names)


READY = (
    '{"state": "ready", "pid": 1, "digests": ["a", "a"], "first_s": 0, "ready_at": 0, "bytes_per_step": 0}'
)


@pytest.mark.parametrize(
    ("hooked", "expected"),
    [
        ("import sys; sys.exit('no such device')", "the hooked process ended with status 1: no such device"),
        ("import os; os.kill(os.getpid(), 9)", "the hooked process ended with status -9"),
        (
            'print(\'{"state": "failed", "error": "RuntimeError: bad"}\')',
            "hooked: RuntimeError: bad",
        ),
        (f"print('{READY}', flush=True)", "the hooked process ended with status 0"),
    ],
)
def test_how_a_side_failed_is_said_in_its_outcome(
    monkeypatch: pytest.MonkeyPatch, hooked: str, expected: str
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    pairs: Any = importlib.import_module("gpu.pairs")
    registry: Any = importlib.import_module("gpu.registry")
    native = (
        f"print('{READY}', flush=True)\n"
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    answer = {'steps': 1, 'ms_per_step': 1.0, 'cpu_ms_per_step': 1.0}\n"
        "    print(json.dumps(answer), flush=True)\n"
    )
    programs = {"native": native, "hooked": hooked}
    with tempfile.TemporaryDirectory() as folder:
        sides = SimpleNamespace(
            folder=Path(folder),
            environment=None,
            command=lambda side, vram, *program: [sys.executable, "-c", programs[side]],
        )
        workload = registry.Workload("fails", "a workload that fails", lambda: None)
        outcome = pairs.compare(sides, workload, 2, 0.01)
    assert expected in outcome.error
    assert outcome.ratios == []
