"""NVIDIA's own nvidia-smi, if this host has one that shows the slice.

It asks NVML for more than NVIDIA documents, and a version of it may not be content with the hook's
libnvidia-ml.so.1. So it is tried first, each time: only if it names the slice's GPU, and gets through its table
without an error, is it let run. Otherwise ours answers.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

TRIAL_S = 5.0
_ON_TRIAL = {"TFUSION_NVIDIA_SMI": "on-trial"}  # another installation's nvidia-smi must not try us in turn


def find_real(uuid: str) -> Path | None:
    """The first nvidia-smi in PATH that is not ours, if it shows the GPU of this UUID as its only one."""
    if os.environ.keys() & _ON_TRIAL.keys():
        return None
    ours = Path(__file__).resolve().parents[1] / "bin" / "nvidia-smi"
    for folder in os.environ.get("PATH", "").split(":"):
        candidate = Path(folder) / "nvidia-smi"
        if folder and candidate.is_file() and os.access(candidate, os.X_OK) and candidate.resolve() != ours:
            return candidate if _shows(candidate, uuid) else None
    return None


def become(real: Path, arguments: Sequence[str]) -> NoReturn:
    """Runs it in our place; raises OSError if it cannot be started."""
    os.execve(real, ["nvidia-smi", *arguments], {**os.environ, **_ON_TRIAL})


def _shows(program: Path, uuid: str) -> bool:
    listed = _output(program, "-L")
    if listed is None or uuid not in listed or len(listed.split("UUID")) != 2:
        return False
    return _output(program) is not None


def _output(program: Path, *arguments: str) -> str | None:
    """What it prints; None if it fails or takes too long."""
    try:
        done = subprocess.run(
            [program, *arguments],
            env={**os.environ, **_ON_TRIAL},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TRIAL_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
