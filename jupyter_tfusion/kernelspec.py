"""Kernelspecs whose kernels run under a GPU slice: made, listed, removed. Called by `tfusion kernelspec` and tests.

A vGPU kernelspec is one of the host's own Python kernelspecs with one addition: metadata.kernel_provisioner names
TFusionProvisioner (provisioner.py) and says how large the slice is. Everything else but the logo is kept as the host
has it, so debugger, encryption, interrupt mode and environment work as they do in the plain kernel. They are files,
not the answers of a kernelspec manager, so every program that starts kernels sees them.

Those that install_profiles() made carry a mark (metadata.tfusion), by which it knows what it may take away again. The
wheel itself brings one, python3-vgpu without a size (kernel_resources/kernel.json), which both kinds replace.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from jupyter_core.paths import jupyter_data_dir

from jupyter_tfusion.profiles import ChosenProfiles, Profile

PROVISIONER_NAME = "tfusion-provisioner"
DEFAULT_KERNEL_NAME = "python3-vgpu"
DEFAULT_VRAM = "4GiB"
BASE_KERNEL_NAME = "python3"
MARK = "tfusion"
LOGOS = ("logo-svg.svg", "logo-32x32.png", "logo-64x64.png")

_DISPLAY_NAME = re.compile(r"(.*\S) \(([^()]*)\)\Z")


class KernelSpecError(Exception):
    """A kernelspec cannot be installed or removed; str() says why and what to do."""


@dataclass(frozen=True)
class InstalledKernelSpec:
    """A vGPU kernelspec found on this machine. ``vram`` is empty where the daemon decides, ``profile`` and ``base``
    where it was made without a profile."""

    name: str
    display_name: str
    vram: str
    share: float
    path: Path
    ceiling: float = 0.0
    profile: str = ""
    base: str = ""


@dataclass(frozen=True)
class _Base:
    """A Python kernelspec to build on: its name, its folder, and its kernel.json."""

    name: str
    folder: Path
    spec: Mapping[str, Any]


@dataclass(frozen=True)
class _Destination:
    """Where kernelspecs are installed: below ``prefix``, or in the user's Jupyter folder where that is None."""

    prefix: str | None

    @property
    def kernels_dir(self) -> Path:
        return Path(jupyter_data_dir(), "kernels") if self.prefix is None else _kernels_dir(self.prefix)


def install_kernelspec(
    *,
    name: str = DEFAULT_KERNEL_NAME,
    vram: str = DEFAULT_VRAM,
    share: float = 1.0,
    server: str = "",
    display_name: str | None = None,
    prefix: str | None = None,
    user: bool = False,
) -> Path:
    """Installs one vGPU kernelspec, built on python3, and returns its folder; a second one replaces the first.

    vram: the slice's memory limit, as gpu_server.sizes.parse_size reads it; share: weight in GPU time, above 0;
    server: socket of the daemon, empty for the configured or embedded one;
    prefix: install below prefix/share/jupyter/kernels (default: sys.prefix); user: into the user's Jupyter folder.
    Raises ValueError for a limit that cannot be, KernelSpecError if the name belongs to another kernel.
    """
    profile = Profile("single", vram, share=share)
    destination = _destination(prefix, user)
    # jupyter_client writes the name in lower case; the check below must look at the same folder.
    name = name.lower()
    _refuse_foreign(destination.kernels_dir / name, name)
    manager = KernelSpecManager()
    base = next((found for found in _python_kernelspecs(manager) if found.name == BASE_KERNEL_NAME), None)
    if base is None:
        raise KernelSpecError(_NO_BASE)
    return _install(
        manager, destination, name, base, display_name or f"Python 3 ({profile.shown})", profile, server
    )


def install_profiles(
    chosen: ChosenProfiles, *, server: str = "", prefix: str | None = None, user: bool = False
) -> list[Path]:
    """Installs a vGPU kernelspec for each profile and each of the host's Python kernelspecs; gives their folders.

    Done again, it leaves the same, or with other profiles just those: what it made earlier in the same place and is no
    longer wanted goes. The other arguments and errors are those of install_kernelspec().
    """
    destination = _destination(prefix, user)
    manager = KernelSpecManager()
    bases = _python_kernelspecs(manager)
    if not bases:
        raise KernelSpecError(_NO_BASE)
    wanted = {
        kernel_name(base.name, profile.name, chosen.default): (base, profile)
        for base in bases
        for profile in chosen.profiles
    }
    for name in wanted:  # all of them before anything is written
        _refuse_foreign(destination.kernels_dir / name, name)
    installed = [
        _install(
            manager,
            destination,
            name,
            base,
            _display_name(str(base.spec["display_name"]), profile.shown),
            profile,
            server,
            {"profile": profile.name, "base": base.name},
        )
        for name, (base, profile) in wanted.items()
    ]
    for old in _kernelspecs(_manager_of(destination.kernels_dir)):
        if old.profile and old.name not in wanted:
            _remove(old.path)
    return installed


def kernel_name(base: str, profile: str, default: str) -> str:
    """The name of the kernel that a profile makes of the plain one called ``base``."""
    return f"{base}-vgpu" if profile == default else f"{base}-vgpu-{profile}"


def installed_kernelspecs(prefix: str | None = None) -> list[InstalledKernelSpec]:
    """The vGPU kernelspecs that Jupyter finds here (with prefix: those below that prefix), by name."""
    return _kernelspecs(_manager(prefix))


def remove_kernelspec(name: str, prefix: str | None = None) -> Path:
    """Removes a vGPU kernelspec and returns the folder that is gone.

    Raises KernelSpecError if there is none of that name or if it is not a vGPU kernelspec.
    """
    manager = _manager(prefix)
    try:
        spec = manager.get_kernel_spec(name)
    except NoSuchKernel:
        known = ", ".join(spec.name for spec in installed_kernelspecs(prefix)) or "none"
        raise KernelSpecError(
            f"There is no kernelspec '{name}'. Installed vGPU kernelspecs: {known}."
        ) from None
    _refuse_foreign(Path(spec.resource_dir), name)
    return _remove(Path(spec.resource_dir))


_NO_BASE = (
    "This Python environment has no plain Python kernel to build on. Install one with: pip install ipykernel"
)


def _destination(prefix: str | None, user: bool) -> _Destination:
    if user and prefix:
        raise ValueError("A kernelspec is installed either for the user or under a prefix, not both.")
    return _Destination(None if user else (prefix or sys.prefix))


def _kernels_dir(prefix: str | None) -> Path:
    return Path(prefix or sys.prefix, "share", "jupyter", "kernels")


def _manager(prefix: str | None) -> KernelSpecManager:
    return KernelSpecManager() if prefix is None else _manager_of(_kernels_dir(prefix))


def _manager_of(kernels_dir: Path) -> KernelSpecManager:
    return KernelSpecManager(kernel_dirs=[str(kernels_dir)], ensure_native_kernel=False)


def _kernelspecs(manager: KernelSpecManager) -> list[InstalledKernelSpec]:
    found = []
    for name, entry in sorted(manager.get_all_specs().items()):
        provisioner = _provisioner_of(entry["spec"])
        if provisioner.get("provisioner_name") != PROVISIONER_NAME:
            continue
        config = provisioner.get("config", {})
        mark = entry["spec"].get("metadata", {}).get(MARK, {})
        found.append(
            InstalledKernelSpec(
                name=name,
                display_name=entry["spec"]["display_name"],
                vram=str(config.get("vram", "")),
                share=float(config.get("share", 1.0)),
                path=Path(entry["resource_dir"]),
                ceiling=float(config.get("ceiling", 0.0)),
                profile=str(mark.get("profile", "")),
                base=str(mark.get("base", "")),
            )
        )
    return found


def _python_kernelspecs(manager: KernelSpecManager) -> list[_Base]:
    """The host's Python kernelspecs whose kernels start as a plain process here, by name."""
    found = []
    for name, entry in sorted(manager.get_all_specs().items()):
        spec = {key: value for key, value in entry["spec"].items() if value not in ("", {}, [])}
        if spec.get("language", "").lower() == "python" and not _provisioner_of(spec):
            found.append(_Base(name, Path(entry["resource_dir"]), spec))
    return found


def _display_name(base: str, shown: str) -> str:
    """ "Python 3 (ipykernel)" becomes "Python 3 (vGPU 4 GiB)", "R (course)" "R (course, vGPU 4 GiB)"."""
    match = _DISPLAY_NAME.match(base)
    if match is None:
        return f"{base} ({shown})"
    name, remark = match.groups()
    return f"{name} ({shown})" if remark == "ipykernel" else f"{name} ({remark}, {shown})"


def _install(
    manager: KernelSpecManager,
    destination: _Destination,
    name: str,
    base: _Base,
    display_name: str,
    profile: Profile,
    server: str,
    mark: Mapping[str, str] | None = None,
) -> Path:
    config = profile.settings()
    if server:
        config["server"] = server
    metadata: dict[str, Any] = dict(base.spec.get("metadata", {}))
    metadata["kernel_provisioner"] = {"provisioner_name": PROVISIONER_NAME, "config": config}
    if mark is not None:
        metadata[MARK] = dict(mark)
    spec = {**base.spec, "display_name": display_name, "metadata": metadata}
    with tempfile.TemporaryDirectory(prefix="tfusion-kernelspec-") as scratch:
        source = Path(scratch, name)
        source.mkdir()
        for file in base.folder.iterdir() if base.folder.is_dir() else ():
            if file.is_file() and not file.name.startswith("logo-"):
                shutil.copyfile(file, source / file.name)
        own = resources.files("jupyter_tfusion") / "kernel_resources"
        for logo in LOGOS:
            (source / logo).write_bytes((own / logo).read_bytes())
        (source / "kernel.json").write_text(json.dumps(spec, indent=1) + "\n", encoding="utf-8")
        try:
            return Path(
                manager.install_kernel_spec(
                    str(source), name, user=destination.prefix is None, prefix=destination.prefix
                )
            )
        except PermissionError as error:
            raise KernelSpecError(
                f"The kernelspec cannot be written to {destination.kernels_dir}: {error.strerror}. Use --user to "
                "install it for yourself, --sys-prefix for this Python environment, or run the command with more "
                "rights."
            ) from error


def _remove(folder: Path) -> Path:
    try:
        if folder.is_symlink():
            folder.unlink()
        else:
            shutil.rmtree(folder)
    except PermissionError as error:
        raise KernelSpecError(
            f"The kernelspec in {folder} cannot be removed: {error.strerror}. "
            "Run the command as the user who installed it."
        ) from error
    return folder


def _provisioner_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    provisioner = spec.get("metadata", {}).get("kernel_provisioner", {})
    return provisioner if isinstance(provisioner, dict) else {}


def _refuse_foreign(folder: Path, name: str) -> None:
    """Raises KernelSpecError if the folder holds a kernelspec that is not a vGPU one: it is someone else's."""
    if not os.path.lexists(folder):
        return
    try:
        spec = json.loads((folder / "kernel.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        spec = {}
    if _provisioner_of(spec).get("provisioner_name") != PROVISIONER_NAME:
        raise KernelSpecError(
            f"'{name}' in {folder} is not a vGPU kernelspec, so it is left alone. Choose another --name, or remove "
            f"it first with: jupyter kernelspec remove {name}"
        )
