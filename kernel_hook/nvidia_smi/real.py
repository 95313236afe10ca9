"""NVIDIA's own nvidia-smi, if this host has one that shows the slice.

It asks NVML for more than NVIDIA documents, and a version of it may not be content with the hook's
libnvidia-ml.so.1. So it is tried first, each time: only if it names the slice's GPU, and gets through its table
without an error, is it let run. Otherwise ours answers.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

TRIAL_S = 5.0


def find_real(uuid: str) -> Path | None:
    """The first nvidia-smi in PATH that is not ours and shows the GPU of this UUID as its only one."""
    ours = Path(__file__).resolve().parents[1] / "bin" / "nvidia-smi"
    for folder in os.environ.get("PATH", "").split(":"):
        candidate = Path(folder) / "nvidia-smi"
        if not folder or not os.access(candidate, os.X_OK) or not candidate.is_file():
            continue
        if candidate.resolve() == ours or candidate.read_bytes() == ours.read_bytes():
            continue
        return candidate if _shows(candidate, uuid) else None
    return None


def _shows(program: Path, uuid: str) -> bool:
    listed = _output(program, "-L")
    if listed is None or uuid not in listed or len(listed.split("UUID")) != 2:
        return False
    return _output(program) is not None


def _output(program: Path, *arguments: str) -> str | None:
    """What it prints; None if it fails or takes too long."""
    try:
        done = subprocess.run(
            [program, *arguments], capture_output=True, text=True, errors="replace", timeout=TRIAL_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
