"""Tests of the scheduler: a pure state machine, so all of them run in simulated time."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # pytest's importlib mode leaves it out
