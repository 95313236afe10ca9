"""Writes docs/settings.md: every setting of the package, from the traits themselves.

    python docs/settings.py docs/settings.md

tests/unit/docs/test_settings.py fails when the page is not current. Run it against the installed package.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from pathlib import Path
from typing import Any

from traitlets import TraitType
from traitlets.config import Configurable

import gpu_server
import jupyter_tfusion
from gpu_server.sizes import MemorySize, format_size

PACKAGES = (gpu_server, jupyter_tfusion)
WHERE = {
    "TFusionServer": "`~/.config/tfusion/tfusion_server_config.py`, or the file that `tfusion serve --config` names",
    "KernelProfiles": "`jupyter_tfusion_config.py`, in one of Jupyter's configuration folders",
    "TFusionExtension": "`jupyter_server_config.py` or `jupyter_tfusion_config.py`",
}
ELSEWHERE = "`jupyter_server_config.py`"
OPTIONAL = ("gpu_server.telemetry",)  # needs an extra
HEAD = """# Settings

Made by `python docs/settings.py docs/settings.md` from the code. Which of them matter, and why:
[administrators](administrators.md).
"""


def configurables() -> list[type[Configurable]]:
    """The classes of the package that have settings of their own, by name."""
    found: dict[str, type[Configurable]] = {}
    for package in PACKAGES:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name in OPTIONAL or ".proto." in module.name:
                continue
            for _, one in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
                if one.__module__ == module.name and issubclass(one, Configurable) and own_traits(one):
                    found[one.__name__] = one
    return [found[name] for name in sorted(found, key=lambda name: (name != "TFusionServer", name))]


def own_traits(one: type[Configurable]) -> dict[str, TraitType[Any, Any]]:
    """Its settings, without those of classes of other packages."""
    ours = [c for c in one.__mro__ if c.__module__.split(".")[0] in {p.__name__ for p in PACKAGES}]
    traits = one.class_traits(config=True)
    return {name: trait for name, trait in traits.items() if any(name in vars(c) for c in ours)}


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for one in configurables():
        doc = inspect.cleandoc(one.__doc__ or "").splitlines()[0]
        parts.append(f"\n## {one.__name__}\n\n{doc} In {WHERE.get(one.__name__, ELSEWHERE)}.\n")
        parts.append("\n| `c." + one.__name__ + ".` | default | meaning |\n|---|---|---|\n")
        for name, trait in own_traits(one).items():
            parts.append(f"| `{name}` | {default(trait)} | {help_of(trait)} |\n")
    return "".join(parts)


def default(trait: TraitType[Any, Any]) -> str:
    """As one would write it in the file."""
    if isinstance(trait, MemorySize) and trait.default_value:
        return f'`"{format_size(trait.default_value).replace(".0 ", "").replace(" ", "")}"`'
    return f"`{trait.default_value_repr()}`"


def help_of(trait: TraitType[Any, Any]) -> str:
    """The trait's documentation, in one line."""
    return " ".join(trait.help.split()).replace("|", "\\|")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
