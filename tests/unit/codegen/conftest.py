"""Makes the generator importable: it is part of the source tree, not of the installed package."""

from __future__ import annotations

from pathlib import Path

import pytest

import kernel_hook

_SOURCE = str(Path(__file__).resolve().parents[3] / "kernel_hook")
if _SOURCE not in kernel_hook.__path__:
    kernel_hook.__path__.append(_SOURCE)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the generator's golden texts")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether the golden texts are to be rewritten. The option is unknown when pytest was not given this folder."""
    return bool(request.config.getoption("--update-golden", default=False))
