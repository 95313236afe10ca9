"""`tfusion kernelspec install|list|remove`, found by `tfusion` (gpu_server/cli.py) through "tfusion.commands"."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from jupyter_tfusion.kernelspec import (
    DEFAULT_KERNEL_NAME,
    DEFAULT_VRAM,
    InstalledKernelSpec,
    KernelSpecError,
    install_kernelspec,
    install_profiles,
    installed_kernelspecs,
    remove_kernelspec,
)
from jupyter_tfusion.profiles import choose_profiles

_OF_ONE_KERNEL = ("name", "vram", "share", "display_name")


class KernelSpecCommand:
    """`tfusion kernelspec install|list|remove`."""

    name = "kernelspec"
    help = "install, list or remove the Jupyter kernels that run under a GPU slice"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds the actions and their options; called once by the command line."""
        actions = parser.add_subparsers(
            dest="kernelspec_action", required=True, metavar="install|list|remove"
        )

        install = actions.add_parser(
            "install",
            help="install kernels; installing them again replaces them",
            description="Installs a kernel for each profile (c.KernelProfiles.profiles, else a small, a medium and a "
            "large one by the size of the GPU) and each Python kernel that Jupyter finds. With --name, --vram, "
            "--share or --display-name: just that one kernel, built on python3.",
        )
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
        install.add_argument(
            "--server", default="", help="socket of the daemon (default: the configured one)"
        )
        install.add_argument(
            "--config",
            type=Path,
            metavar="FILE",
            help="file with the profiles (default: jupyter_tfusion_config.py in Jupyter's configuration folders)",
        )
        one = install.add_argument_group("one kernel instead of the profiles")
        one.add_argument("--name", help=f"the kernel's name ({DEFAULT_KERNEL_NAME})")
        one.add_argument("--vram", help=f"GPU memory of the slice, for example 512MiB ({DEFAULT_VRAM})")
        one.add_argument("--share", type=float, help="weight in GPU time while others compute too (1)")
        one.add_argument("--display-name", help='default: "Python 3 (vGPU 4 GiB)" with the amount of --vram')

        listing = actions.add_parser("list", help="show the installed kernels")
        listing.add_argument("--prefix", help="only those below PREFIX/share/jupyter/kernels")
        listing.add_argument("--json", action="store_true", help="print JSON")

        remove = actions.add_parser("remove", help="remove kernels")
        remove.add_argument("names", nargs="*", metavar="NAME", help=f"({DEFAULT_KERNEL_NAME})")
        remove.add_argument("--all", action="store_true", help="all vGPU kernels")
        remove.add_argument("--prefix", help="only below PREFIX/share/jupyter/kernels")

    def run(self, args: argparse.Namespace) -> int:
        """Does what add_arguments' parser read; returns the exit status, 1 after an error sentence on stderr."""
        try:
            if args.kernelspec_action == "install":
                self._install(args)
            elif args.kernelspec_action == "list":
                self._list(args)
            else:
                self._remove(args)
        except (KernelSpecError, ValueError) as error:
            print(f"tfusion kernelspec: {error}", file=sys.stderr)
            return 1
        return 0

    def _install(self, args: argparse.Namespace) -> None:
        one = {option: getattr(args, option) for option in _OF_ONE_KERNEL}
        one = {option: value for option, value in one.items() if value is not None}
        if one:
            if args.config is not None:
                raise ValueError(
                    "--config is for profiles, --name, --vram, --share and --display-name are for one kernel. Leave "
                    "out one or the other."
                )
            paths = [install_kernelspec(**one, server=args.server, prefix=args.prefix, user=args.user)]
        else:
            chosen = choose_profiles(args.config, args.server)
            print(f"Profiles of {chosen.origin}")
            paths = install_profiles(chosen, server=args.server, prefix=args.prefix, user=args.user)
        for path in paths:
            print(f"Installed the kernel {path.name} in {path}")

    def _list(self, args: argparse.Namespace) -> None:
        specs = installed_kernelspecs(args.prefix)
        if args.json:
            rows = [{**vars(spec), "path": str(spec.path)} for spec in specs]
            print(json.dumps(rows, indent=2))
        elif not specs:
            print("No vGPU kernel is installed. Install some with: tfusion kernelspec install")
        else:
            widths = [max(len(text) for text in column) for column in zip(*map(_shown, specs), strict=True)]
            for spec in specs:
                print("  ".join(text.ljust(width) for text, width in zip(_shown(spec), widths, strict=True)))

    def _remove(self, args: argparse.Namespace) -> None:
        if args.all and args.names:
            raise ValueError("Name the kernels to remove, or say --all, not both.")
        names = args.names or [DEFAULT_KERNEL_NAME]
        if args.all:
            names = [spec.name for spec in installed_kernelspecs(args.prefix)]
            if not names:
                print("No vGPU kernel is installed.")
        for name in names:
            print(f"Removed {remove_kernelspec(name, args.prefix)}")


def _shown(spec: InstalledKernelSpec) -> tuple[str, ...]:
    ceiling = f", at most {spec.ceiling:.0%}" if spec.ceiling else ""
    return (
        spec.name,
        spec.vram or "by the GPU",
        f"share {spec.share:g}{ceiling}",
        spec.profile,
        str(spec.path),
    )
