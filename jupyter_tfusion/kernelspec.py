"""Kernelspecs whose kernels run under a GPU slice, and the command `tfusion kernelspec` that manages them.

A vGPU kernelspec is the host's own Python kernelspec with one addition: metadata.kernel_provisioner names
TFusionProvisioner (provisioner.py) and says how large the slice is. Everything else is kept as the host has it, so
debugger, encryption, interrupt mode and environment work as they do in the plain kernel.

`tfusion` (gpu_server/cli.py) finds KernelSpecCommand through the entry-point group "tfusion.commands".
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from jupyter_core.paths import jupyter_data_dir

from gpu_server.sizes import format_size, parse_size

PROVISIONER_NAME = "tfusion-provisioner"
DEFAULT_KERNEL_NAME = "python3-vgpu"
DEFAULT_VRAM = "4GiB"
BASE_KERNEL_NAME = "python3"


class KernelSpecError(Exception):
    """A kernelspec cannot be installed or removed; str() says why and what to do."""


@dataclass(frozen=True)
class InstalledKernelSpec:
    """A vGPU kernelspec found on this machine."""

    name: str
    display_name: str
    vram: str
    share: float
    path: Path


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
    """Installs the vGPU kernelspec and returns its folder; done twice, the second replaces the first.

    vram: the slice's memory limit, as gpu_server.sizes.parse_size reads it; share: weight in GPU time, above 0;
    server: socket of the daemon, empty for the configured or embedded one;
    prefix: install below prefix/share/jupyter/kernels (default: sys.prefix); user: into the user's Jupyter folder.
    Raises ValueError for a limit that cannot be, KernelSpecError if the name belongs to another kernel.
    """
    vram_bytes = parse_size(vram)
    if vram_bytes < 1:
        raise ValueError(f"A slice of {vram} cannot run anything; ask for example for 512MiB or 4GiB.")
    if not share > 0:
        raise ValueError(f"The share is {share:g}; it must be more than 0. 1 is an ordinary learner's share.")
    if user and prefix:
        raise ValueError("A kernelspec is installed either for the user or under a prefix, not both.")
    manager = KernelSpecManager()
    destination_prefix = None if user else (prefix or sys.prefix)
    kernels_dir = Path(jupyter_data_dir(), "kernels") if user else _kernels_dir(destination_prefix)
    # jupyter_client writes the name in lower case; the check below must look at the same folder.
    name = name.lower()
    _refuse_foreign(kernels_dir / name, name)

    base_dir, spec = _base_kernelspec(manager)
    spec["display_name"] = display_name or f"Python 3 (vGPU {format_size(vram_bytes).replace('.0 ', ' ')})"
    config: dict[str, Any] = {"vram": vram, "share": share}
    if server:
        config["server"] = server
    spec.setdefault("metadata", {})["kernel_provisioner"] = {
        "provisioner_name": PROVISIONER_NAME,
        "config": config,
    }

    with tempfile.TemporaryDirectory(prefix="tfusion-kernelspec-") as scratch:
        source = Path(scratch, name)
        source.mkdir()
        for logo in base_dir.glob("logo-*"):
            shutil.copyfile(logo, source / logo.name)
        own = resources.files("jupyter_tfusion") / "kernel_resources" / "logo-svg.svg"
        (source / "logo-svg.svg").write_bytes(own.read_bytes())
        (source / "kernel.json").write_text(json.dumps(spec, indent=1) + "\n", encoding="utf-8")
        try:
            return Path(manager.install_kernel_spec(str(source), name, user=user, prefix=destination_prefix))
        except PermissionError as error:
            raise KernelSpecError(
                f"The kernelspec cannot be written to {kernels_dir}: {error.strerror}. Use --user to install it for "
                "yourself, --sys-prefix for this Python environment, or run the command with more rights."
            ) from error


def installed_kernelspecs(prefix: str | None = None) -> list[InstalledKernelSpec]:
    """The vGPU kernelspecs that Jupyter finds here (with prefix: those below that prefix), by name."""
    found = []
    for name, entry in sorted(_manager(prefix).get_all_specs().items()):
        provisioner = _provisioner_of(entry["spec"])
        if provisioner.get("provisioner_name") != PROVISIONER_NAME:
            continue
        config = provisioner.get("config", {})
        found.append(
            InstalledKernelSpec(
                name=name,
                display_name=entry["spec"]["display_name"],
                vram=str(config.get("vram", "")),
                share=float(config.get("share", 1.0)),
                path=Path(entry["resource_dir"]),
            )
        )
    return found


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
    try:
        return Path(manager.remove_kernel_spec(name))
    except PermissionError as error:
        raise KernelSpecError(
            f"The kernelspec in {spec.resource_dir} cannot be removed: {error.strerror}. "
            "Run the command as the user who installed it."
        ) from error


def _kernels_dir(prefix: str | None) -> Path:
    return Path(prefix or sys.prefix, "share", "jupyter", "kernels")


def _manager(prefix: str | None) -> KernelSpecManager:
    if prefix is None:
        return KernelSpecManager()
    return KernelSpecManager(kernel_dirs=[str(_kernels_dir(prefix))], ensure_native_kernel=False)


def _provisioner_of(spec: dict[str, Any]) -> dict[str, Any]:
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


def _base_kernelspec(manager: KernelSpecManager) -> tuple[Path, dict[str, Any]]:
    """The host's plain Python kernelspec: its folder (for the logos) and its kernel.json."""
    try:
        base = manager.get_kernel_spec(BASE_KERNEL_NAME)
    except NoSuchKernel:
        raise KernelSpecError(
            "This Python environment has no plain Python kernel to build on. Install one with: pip install ipykernel"
        ) from None
    spec: dict[str, Any] = {key: value for key, value in base.to_dict().items() if value not in ("", {}, [])}
    spec["metadata"] = dict(base.metadata)
    return Path(base.resource_dir), spec


class KernelSpecCommand:
    """`tfusion kernelspec install|list|remove`."""

    name = "kernelspec"
    help = "install, list or remove the Jupyter kernels that run under a GPU slice"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds the actions and their options; called once by the command line."""
        actions = parser.add_subparsers(
            dest="kernelspec_action", required=True, metavar="install|list|remove"
        )

        install = actions.add_parser("install", help="install a kernel; installing it again replaces it")
        where = install.add_mutually_exclusive_group()
        where.add_argument(
            "--sys-prefix",
            action="store_const",
            const=sys.prefix,
            dest="prefix",
            help="into this Python environment (the default)",
        )
        where.add_argument("--user", action="store_true", help="into your own Jupyter folder")
        where.add_argument("--prefix", help="below PREFIX/share/jupyter/kernels")
        install.add_argument("--name", default=DEFAULT_KERNEL_NAME, help="the kernel's name (%(default)s)")
        install.add_argument(
            "--vram", default=DEFAULT_VRAM, help="GPU memory of the slice, for example 512MiB (%(default)s)"
        )
        install.add_argument(
            "--share",
            type=float,
            default=1.0,
            help="weight in GPU time while others compute too (%(default)g)",
        )
        install.add_argument(
            "--server", default="", help="socket of the daemon (default: the configured one)"
        )
        install.add_argument(
            "--display-name", help='default: "Python 3 (vGPU 4 GiB)" with the amount of --vram'
        )

        listing = actions.add_parser("list", help="show the installed kernels")
        listing.add_argument("--prefix", help="only those below PREFIX/share/jupyter/kernels")
        listing.add_argument("--json", action="store_true", help="print JSON")

        remove = actions.add_parser("remove", help="remove kernels")
        remove.add_argument("names", nargs="*", default=[DEFAULT_KERNEL_NAME], metavar="NAME")
        remove.add_argument("--prefix", help="only below PREFIX/share/jupyter/kernels")

    def run(self, args: argparse.Namespace) -> int:
        """Does what add_arguments' parser read; returns the exit status, 1 after an error sentence on stderr."""
        try:
            if args.kernelspec_action == "install":
                self._install(args)
            elif args.kernelspec_action == "list":
                self._list(args)
            else:
                for name in args.names:
                    print(f"Removed {remove_kernelspec(name, args.prefix)}")
        except (KernelSpecError, ValueError) as error:
            print(f"tfusion kernelspec: {error}", file=sys.stderr)
            return 1
        return 0

    def _install(self, args: argparse.Namespace) -> None:
        path = install_kernelspec(
            name=args.name,
            vram=args.vram,
            share=args.share,
            server=args.server,
            display_name=args.display_name,
            prefix=args.prefix,
            user=args.user,
        )
        print(f"Installed the kernel {path.name} in {path}")

    def _list(self, args: argparse.Namespace) -> None:
        specs = installed_kernelspecs(args.prefix)
        if args.json:
            rows = [{**vars(spec), "path": str(spec.path)} for spec in specs]
            print(json.dumps(rows, indent=2))
        elif not specs:
            print("No vGPU kernel is installed. Install one with: tfusion kernelspec install")
        else:
            width = max(len(spec.name) for spec in specs)
            for spec in specs:
                print(f"{spec.name:<{width}}  {spec.vram:>8}  share {spec.share:g}  {spec.path}")
