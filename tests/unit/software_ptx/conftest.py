"""Tests of the PTX compiler and executor. The library under test is built with the machine's C++ compiler on first
use and kept in a cache folder (see ptx_library.py)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture(scope="session", autouse=True)
def _library() -> None:
    """Builds the library before the first test, so that a failure to build is one clear error."""
    from device import library

    library()
