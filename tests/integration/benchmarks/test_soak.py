"""benchmarks/soak.py with small numbers on the software GPU: nothing grows, and growth would be told."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.mark.timeout(300)
def test_sessions_and_modules_come_and_go_and_nothing_grows(tmp_path: Path) -> None:
    program = [sys.executable, str(BENCHMARKS / "soak.py"), "--device", "software"]
    done = subprocess.run(
        [*program, "--sessions", "30", "--modules", "160", "--json", "seen.json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    seen = {row["what"]: row for row in json.loads((tmp_path / "seen.json").read_text())}
    assert {"daemon's memory, 30 sessions", "worker's descriptors", "client's memory, 160 modules"} <= set(
        seen
    )
    assert all(row["before"] > 0 for what, row in seen.items() if "GPU memory" not in what)


def test_growth_beyond_its_slack_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    soak: Any = importlib.import_module("soak")
    assert not soak.Growth("descriptors", 10, 12, 2, in_bytes=False).too_much
    grown = soak.Growth("descriptors", 10, 13, 2, in_bytes=False)
    assert grown.too_much
    assert grown.row().endswith("GREW")
