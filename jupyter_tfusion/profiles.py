"""Profiles: which sizes of slices learners can choose from. `tfusion kernelspec install` makes kernels of them.

Set in jupyter_tfusion_config.py (or .json) in one of Jupyter's configuration folders, as ``c.KernelProfiles``. The
traits' help texts are its documentation. Without any, there are a small, a medium and a large one, by the memory of
the GPU (gpu_server/slice_sizes.py).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_core.paths import jupyter_config_path
from traitlets import Dict, List, TraitError, Unicode
from traitlets.config import Config, Configurable
from traitlets.config.loader import JSONFileConfigLoader, PyFileConfigLoader

from gpu_server.errors import TFusionError
from gpu_server.sizes import format_size, parse_size
from gpu_server.slice_sizes import sizes_for
from gpu_server.status_command import connect_running

CONFIG_NAME = "jupyter_tfusion_config"
DEFAULT_PROFILE = "medium"
SOFTWARE_MEMORY_BYTES = 1 << 30  # what the software GPU has unless it is given another size

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*\Z")


class ProfileError(ValueError):
    """A profile, or the file that sets it, cannot be; str() says why and what to do."""


@dataclass(frozen=True)
class Profile:
    """One size of slices. ``vram`` is an amount as gpu_server.sizes.parse_size reads it.

    ``share`` is the weight in GPU time, ``ceiling`` the most of the GPU's time as a part of 1 (0: no limit).
    ``limits`` are further settings of the kernel's provisioner (c.TFusionProvisioner), by name.
    """

    name: str
    vram: str
    title: str = ""
    share: float = 1.0
    ceiling: float = 0.0
    limits: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ProfileError for what cannot be."""
        if not isinstance(self.name, str) or not _NAME.match(self.name):
            raise ProfileError(
                f"A profile's name is part of a kernel's name: small letters, digits, '-', '_' and '.'; "
                f"{self.name!r} is none."
            )
        if not isinstance(self.vram, (str, int)) or isinstance(self.vram, bool):
            raise ProfileError(f"The profile '{self.name}' needs its GPU memory, for example 'vram': '4GiB'.")
        try:
            vram_bytes = parse_size(str(self.vram))
        except ValueError as error:
            raise ProfileError(f"In the profile '{self.name}': {error}") from None
        if vram_bytes < 1:
            raise ProfileError(
                f"A slice of {self.vram} cannot run anything; ask for example for 512MiB or 4GiB."
            )
        # Written so that nan is refused too.
        if not _is_number(self.share) or not self.share > 0:
            raise ProfileError(
                f"The share is {self.share}; it must be more than 0. 1 is an ordinary learner's share."
            )
        if not _is_number(self.ceiling) or not 0 <= self.ceiling <= 1:
            raise ProfileError(
                f"The ceiling is {self.ceiling}; it is a part of the GPU's time, above 0 and up to 1 (0: no limit)."
            )
        if not isinstance(self.limits, Mapping):
            raise ProfileError(f"The limits of the profile '{self.name}' are settings by name.")
        _check_limits(self.name, self.limits)

    @property
    def shown(self) -> str:
        """What the kernel's display name says of the slice."""
        return self.title or f"vGPU {format_size(parse_size(str(self.vram))).replace('.0 ', ' ')}"

    def settings(self) -> dict[str, Any]:
        """For the kernelspec's metadata.kernel_provisioner.config."""
        settings: dict[str, Any] = {"vram": self.vram, "share": self.share}
        if self.ceiling:
            settings["ceiling"] = self.ceiling
        return {**settings, **self.limits}


class KernelProfiles(Configurable):
    """The sizes of slices that get a kernel of their own."""

    profiles = List(
        Dict(),
        help="The profiles, each a dictionary: 'name' (part of the kernel's name), 'vram' (GPU memory, e.g. '4GiB'), "
        "and if wanted 'title' (in the launcher, instead of 'vGPU 4 GiB'), 'share' (weight in GPU time, 1), 'ceiling' "
        "(most of the GPU's time, as a part of 1; 0: no limit) and 'limits' (further settings of TFusionProvisioner, "
        "by name). Empty: small, medium and large by the size of the GPU.",
    ).tag(config=True)
    default = Unicode(
        DEFAULT_PROFILE,
        help="Name of the profile whose kernel is called after the plain one alone: python3-vgpu, and not "
        "python3-vgpu-medium. If there is no such profile: the first one.",
    ).tag(config=True)


@dataclass(frozen=True)
class ChosenProfiles:
    """The profiles to install; ``default`` is the name of one of them. ``origin`` says where they come from."""

    profiles: tuple[Profile, ...]
    default: str
    origin: str


def choose_profiles(file: Path | None = None, server: str = "") -> ChosenProfiles:
    """The profiles of the configuration, else those that fit the GPU; ``server`` is a daemon's socket, or empty.

    Raises ProfileError.
    """
    config, origin = _load(file)
    try:
        settings = KernelProfiles(config=config)
    except TraitError as error:
        raise ProfileError(f"In {origin}: {error}") from None
    if not settings.profiles:
        return _by_gpu(server, settings.default)
    profiles = tuple(_profile(entry, origin) for entry in settings.profiles)
    names = [profile.name for profile in profiles]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ProfileError(f"In {origin} two profiles are called '{twice}'. Give each a name of its own.")
    return ChosenProfiles(profiles, settings.default if settings.default in names else names[0], origin)


def _by_gpu(server: str, default: str) -> ChosenProfiles:
    memory_bytes, origin = _gpu_memory(server)
    sizes = sizes_for(memory_bytes)
    # A small GPU may have the same size twice.
    amounts = {
        sizes.medium: DEFAULT_PROFILE,
        **({} if sizes.small == sizes.medium else {sizes.small: "small"}),
        **({} if sizes.large == sizes.medium else {sizes.large: "large"}),
    }
    profiles = tuple(
        Profile(name, format_size(size).replace(".0 ", "").replace(" ", ""))
        for size, name in sorted(amounts.items())
    )
    names = [profile.name for profile in profiles]
    return ChosenProfiles(profiles, default if default in names else DEFAULT_PROFILE, origin)


def _gpu_memory(server: str) -> tuple[int, str]:
    """The memory of the smallest GPU there is, and of which: of the daemon's, of the host's, or of the software GPU."""
    try:
        with connect_running(Path(server) if server else None) as client:
            gpus = [(gpu.memory_bytes, gpu.name) for gpu in client.list_gpus()]
        whose = "of the running GPU server"
    except TFusionError:
        gpus, whose = _host_gpus(), "of this machine"
    if not gpus:
        return SOFTWARE_MEMORY_BYTES, "the software GPU, as this machine has no other"
    memory_bytes, name = min(gpus)
    return memory_bytes, f"{name} ({format_size(memory_bytes)}) {whose}"


def _host_gpus() -> list[tuple[int, str]]:
    import pynvml

    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return [
            (int(pynvml.nvmlDeviceGetMemoryInfo(handle).total), str(pynvml.nvmlDeviceGetName(handle)))
            for handle in handles
        ]
    except pynvml.NVMLError:
        return []


def _load(file: Path | None) -> tuple[Config, str]:
    """The configuration and the file it is from; that of ``file``, or of the first found in Jupyter's folders."""
    if file is None:
        folders = [Path(folder) for folder in jupyter_config_path()]
        files = [folder / f"{CONFIG_NAME}{ending}" for folder in folders for ending in (".py", ".json")]
        file = next((found for found in files if found.is_file()), None)
        if file is None:
            return Config(), ""
    if not file.is_file():
        raise ProfileError(f"The configuration file {file} does not exist. Check the path after --config.")
    loader = JSONFileConfigLoader if file.suffix == ".json" else PyFileConfigLoader
    try:
        config = loader(file.name, path=os.fspath(file.absolute().parent)).load_config()
    except Exception as error:  # a configuration file is a program: anything may be wrong in it
        raise ProfileError(f"The configuration file {file} could not be read: {error}.") from None
    unknown = sorted(
        set(config.get("KernelProfiles", {})) - set(KernelProfiles.class_trait_names(config=True))
    )
    if unknown:
        raise ProfileError(
            f"The configuration file {file} sets KernelProfiles.{unknown[0]}, which does not exist. There are: "
            "default, profiles."
        )
    return config, os.fspath(file)


def _profile(entry: Mapping[str, Any], origin: str) -> Profile:
    known = set(Profile.__dataclass_fields__)
    unknown = sorted(map(str, set(entry) - known))
    if unknown:
        raise ProfileError(
            f"In {origin} a profile sets '{unknown[0]}', which does not exist. There are: {', '.join(sorted(known))}."
        )
    for needed in ("name", "vram"):
        if needed not in entry:
            raise ProfileError(f"In {origin} a profile has no '{needed}': {dict(entry)!r}.")
    return Profile(**entry)


def _check_limits(name: str, limits: Mapping[str, Any]) -> None:
    from jupyter_tfusion.provisioner import TFusionProvisioner

    own = set(TFusionProvisioner.class_own_traits(config=True)) - {"vram", "share", "ceiling", "server"}
    unknown = sorted(map(str, set(limits) - own))
    if unknown:
        raise ProfileError(
            f"The profile '{name}' has the limit '{unknown[0]}', which does not exist. There are: "
            f"{', '.join(sorted(own))}."
        )
    try:
        TFusionProvisioner(**limits)
    except TraitError as error:
        raise ProfileError(f"A limit of the profile '{name}' cannot be: {error}") from None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
