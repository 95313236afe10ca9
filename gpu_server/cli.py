"""The program `tfusion`: its subcommands, and how it says what went wrong.

A subcommand is an object, or a class made without arguments, with ``name``, ``help``, ``add_arguments(parser)`` and
``run(args) -> int`` (the exit status). Those of other packages come by the entry-point group "tfusion.commands".
An error is one sentence on stderr, never a traceback.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from gpu_server.errors import TFusionError

ENTRY_POINTS = "tfusion.commands"
USAGE_STATUS = 2


class Command(Protocol):
    """One subcommand."""

    name: str
    help: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the options."""

    def run(self, args: argparse.Namespace) -> int:
        """Does it; gives the exit status. Raises TFusionError with a sentence."""


class ServeCommand:
    """`tfusion serve`."""

    name = "serve"
    help = "share this host's GPUs, or the software GPU"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the options; those left out come from the configuration file or the defaults."""
        parser.add_argument("--device", choices=["auto", "nvidia", "software"], help="which GPUs to share")
        parser.add_argument(
            "--memory", metavar="SIZE", help="how much of each GPU's memory may be used, e.g. 16GiB"
        )
        parser.add_argument(
            "--oversubscription",
            type=float,
            metavar="TIMES",
            help="how many times that memory may be promised; who does not compute is swapped out",
        )
        parser.add_argument(
            "--socket", metavar="PATH", help="control socket; its folder becomes the daemon's own"
        )
        parser.add_argument("--config", metavar="FILE", type=Path, help="configuration file (.py or .json)")
        parser.add_argument(
            "--embedded", action="store_true", help="detach, and end when nobody needs it any more"
        )
        parser.add_argument("--ready-fd", type=int, default=-1, help=argparse.SUPPRESS)

    def run(self, args: argparse.Namespace) -> int:
        """Runs the daemon until it is told to stop."""
        if args.embedded:
            detach()
        # After detach(): gRPC must not be loaded before a fork.
        from gpu_server.config import load_config
        from gpu_server.daemon import ReadyReport, run_daemon

        options: dict[str, Any] = {
            name: value
            for name in ("device", "memory", "oversubscription", "socket")
            if (value := getattr(args, name)) is not None
        }
        try:
            if os.environ.get("TFUSION_TOKEN"):
                raise TFusionError(
                    "This terminal runs under a vGPU slice, so its GPU is a virtual one that cannot be shared again. "
                    "Start the GPU server from a terminal outside of the notebook kernel."
                )
            config = load_config(args.config, {**options, "embedded": args.embedded})
        except TFusionError as error:
            ReadyReport(args.ready_fd).send(f"error: {error}")
            raise
        return run_daemon(config, args.ready_fd)


def detach() -> None:
    """Leaves whoever started us: the rest runs in a child that belongs to init."""
    if os.fork() != 0:
        os._exit(0)


def built_in_commands() -> list[Command]:
    """The subcommands of this package."""
    from gpu_server.doctor import DoctorCommand
    from gpu_server.run_command import RunCommand
    from gpu_server.status_command import StatusCommand
    from gpu_server.trace_command import TraceCommand

    return [ServeCommand(), RunCommand(), StatusCommand(), TraceCommand(), DoctorCommand()]


def plugged_in_commands() -> list[Command]:
    """The subcommands of other packages; one that cannot be loaded is named on stderr and left out."""
    commands: list[Command] = []
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        try:
            loaded = entry.load()
            commands.append(loaded() if isinstance(loaded, type) else loaded)
        except Exception as error:  # a stranger's code
            print(
                f"tfusion: the command '{entry.name}' ({entry.value}) cannot be loaded: {error}",
                file=sys.stderr,
            )
    return commands


def make_parser(commands: Sequence[Command]) -> argparse.ArgumentParser:
    """The parser; each subcommand's object is in the result's ``command_object``."""
    parser = argparse.ArgumentParser(prog="tfusion", description="Virtual GPU slices for Jupyter kernels.")
    parser.add_argument("--version", action="version", version=f"tfusion {version()}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in commands:
        subparser = subparsers.add_parser(
            command.name, help=command.help, description=command.help.capitalize() + "."
        )
        subparser.set_defaults(command_object=command)
        command.add_arguments(subparser)
    return parser


def version() -> str:
    """The installed version, or "unknown" in a source tree."""
    try:
        return importlib.metadata.version("jupyter-tfusion")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `tfusion`; gives the exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    commands = built_in_commands() if not _is_embedded_start(arguments) else [ServeCommand()]
    names = {command.name for command in commands}
    # Other packages are loaded only when the command is not ours: `tfusion run` starts every program.
    if not arguments or arguments[0] not in names:
        commands += [command for command in plugged_in_commands() if command.name not in names]
    args = make_parser(commands).parse_args(arguments)
    try:
        status: int = args.command_object.run(args)
        return status
    except TFusionError as error:
        print(f"tfusion: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `tfusion status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def _is_embedded_start(arguments: Sequence[str]) -> bool:
    # The other commands load gRPC, which has to come after the fork in detach().
    return arguments[:1] == ["serve"]


if __name__ == "__main__":
    sys.exit(main())
