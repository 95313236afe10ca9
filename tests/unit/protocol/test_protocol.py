"""The wire protocol and what guards it, tested in C++ (*_test.cpp) with AddressSanitizer and UBSan.

pytest builds what it needs (protocol_programs.py), and one program may be run alone from
pytest's cache folder (.pytest_cache/d/protocol) with the names of its tests as arguments.
"""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # pytest's importlib mode leaves it out

from protocol_programs import PROGRAMS, build

TESTS = [name for name in PROGRAMS if not name.startswith("digests")]


@pytest.fixture(scope="session")
def folder(pytestconfig: pytest.Config) -> Path:
    assert pytestconfig.cache is not None
    return pytestconfig.cache.mkdir("protocol")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", TESTS)
def test_program(name: str, folder: Path) -> None:
    done = subprocess.run([build(name, folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok " in done.stdout


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["digests", "digests-portable"])
def test_digests_of_every_length(name: str, folder: Path) -> None:
    """SHA-256 as Python's; MD2, which Python lacks, is the same on both and tested by vectors."""
    message = random.Random(1).randbytes(700)  # ten blocks and more, every remainder
    done = subprocess.run([build(name, folder)], input=message, capture_output=True)
    lines = [line.split()[0] for line in done.stdout.decode().splitlines()]
    assert lines == [hashlib.sha256(message[:n]).hexdigest() for n in range(len(message) + 1)]
