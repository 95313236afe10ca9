"""docs/settings.md lists every setting, as the code has it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def settings() -> ModuleType:
    spec = importlib.util.spec_from_file_location("settings_page", ROOT / "docs" / "settings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_current(settings: ModuleType) -> None:
    written = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert written == settings.page(), "run: python docs/settings.py docs/settings.md"


def test_every_setting_is_explained(settings: ModuleType) -> None:
    found = settings.configurables()
    assert {"TFusionServer", "TFusionProvisioner", "TFusionExtension"} <= {one.__name__ for one in found}
    for one in found:
        for name, trait in settings.own_traits(one).items():
            assert settings.help_of(trait).endswith("."), f"{one.__name__}.{name}"
