"""`tfusion run`: runs any program under a slice, as if it had been started directly.

The program has our stdin, stdout, stderr and process group; its exit status is ours, and if a signal killed it, the
same signal ends us. Signals sent to us are passed on; those that the terminal sends reach the program by themselves,
since it is in our process group. The slice is closed at the end, whatever it was.
"""

from __future__ import annotations

import argparse
import errno
import os
import resource
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from gpu_server.errors import TFusionError

NOT_EXECUTABLE_STATUS = 126
NOT_FOUND_STATUS = 127
_SI_KERNEL = 0x80  # siginfo's si_code: sent by the kernel itself, as for Ctrl-C, to the whole process group

# Everything that can be sent to a program as a message and would otherwise act on us alone.
FORWARDED = frozenset(
    {
        signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
        signal.SIGALRM, signal.SIGWINCH, signal.SIGCONT,
    }
)  # fmt: skip


class RunCommand:
    """`tfusion run [--server PATH] [--vram 4GiB] [--share 1] [--ceiling 25%] -- COMMAND...`"""

    name = "run"
    help = "run a program with a virtual GPU"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the options."""
        parser.add_argument("--server", type=Path, metavar="PATH", help="control socket of a GPU server")
        parser.add_argument(
            "--vram", metavar="SIZE", help="GPU memory limit, e.g. 4GiB (default: the server's)"
        )
        parser.add_argument(
            "--share", type=float, default=0.0, metavar="WEIGHT", help="weight in GPU time (default 1)"
        )
        parser.add_argument(
            "--ceiling",
            default="",
            metavar="PERCENT",
            help="most of the GPU's time, even if nobody else wants it, e.g. 25%% (default: no limit)",
        )
        parser.add_argument(
            "command", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="program and arguments"
        )

    def run(self, args: argparse.Namespace) -> int:
        """Opens a slice and runs the program under it; gives its exit status."""
        command = args.command[1:] if args.command[:1] == ["--"] else args.command
        if not command:
            print(
                "tfusion run: give the program after '--', for example: tfusion run -- python train.py",
                file=sys.stderr,
            )
            return 2
        return run_under_slice(
            command, args.server, parse_vram(args.vram), args.share, parse_ceiling(args.ceiling)
        )


def parse_vram(text: str | None) -> int:
    """Bytes; 0 where nothing was given. Raises TFusionError."""
    from gpu_server.sizes import parse_size

    if text is None:
        return 0
    try:
        size = parse_size(text)
    except ValueError as error:
        raise TFusionError(str(error)) from None
    if size == 0:
        raise TFusionError("A slice with no GPU memory is of no use. Ask for a size such as 4GiB.")
    return size


def parse_ceiling(text: str) -> float:
    """A part of 1; 0 where nothing was given. Raises TFusionError."""
    if not text:
        return 0.0
    try:
        percent = float(text.strip().removesuffix("%"))
    except ValueError:
        percent = 0.0
    if not 0.0 < percent <= 100.0:
        raise TFusionError(
            f"'{text}' is no part of the GPU's time; write it in percent, above 0 and up to 100, like 25%."
        )
    return percent / 100.0


def run_under_slice(
    command: Sequence[str], server: Path | None, vram_bytes: int, share: float, ceiling: float = 0.0
) -> int:
    """Runs ``command`` to its end under a slice of its own; gives its exit status or ends us by its signal."""
    program = shutil.which(command[0])
    if program is None:
        exists = os.path.exists(command[0])
        why = "is not an executable program" if exists else "was not found"
        print(f"tfusion: {command[0]} {why}.", file=sys.stderr)
        return NOT_EXECUTABLE_STATUS if exists else NOT_FOUND_STATUS
    # Blocked before any thread exists, so that none of them can be interrupted by a signal meant for the program.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED | {signal.SIGCHLD})
    try:
        import kernel_hook
        from gpu_server.client import SliceLease, connect

        try:
            library = kernel_hook.library_path()
        except kernel_hook.HookMissing as error:
            raise TFusionError(str(error)) from None
        with connect(server) as client:
            name = f"tfusion run {os.path.basename(command[0])}"
            with SliceLease.open(
                client,
                name,
                vram_bytes=vram_bytes,
                share=share,
                owner=_owner(),
                ceiling=ceiling,
                on_lost=_say_lost,
            ) as lease:
                environment = kernel_hook.launch_environment(
                    os.environ,
                    session_socket=lease.opened.session_socket,
                    slice_id=lease.opened.slice_id,
                    token=lease.opened.token,
                    library=library,
                    vram_bytes=lease.opened.vram_bytes,
                    gpu_name=lease.opened.gpu.name,
                    driver_version=lease.opened.gpu.driver_version,
                    software=lease.opened.gpu.software,
                )
                status = _run(program, command, environment, before)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if os.WIFSIGNALED(status):
        _end_by(os.WTERMSIG(status))
    return os.waitstatus_to_exitcode(status)


def _run(
    program: str, command: Sequence[str], environment: Mapping[str, str], mask: set[int | signal.Signals]
) -> int:
    """Starts the program, passes signals on, and gives its wait status."""
    try:
        pid = os.posix_spawn(
            program,
            list(command),
            environment,
            setsigmask=mask,
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # Python ignores these; a program expects the default
        )
    except OSError as error:
        if error.errno == errno.ENOEXEC:
            raise TFusionError(
                f"{program} is not a program for this machine (or a script without '#!')."
            ) from None
        raise TFusionError(f"{program} could not be started: {error.strerror}.") from None
    pidfd = os.pidfd_open(pid)
    try:
        while True:
            info = signal.sigwaitinfo(FORWARDED | {signal.SIGCHLD})
            if info.si_signo == signal.SIGCHLD:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    return status
            elif info.si_code != _SI_KERNEL:
                try:
                    signal.pidfd_send_signal(pidfd, info.si_signo)
                except ProcessLookupError:
                    pass  # it has just ended; its SIGCHLD is next
    finally:
        os.close(pidfd)


def _end_by(number: int) -> None:
    """Ends us by the signal that ended the program, without a second core file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(number, signal.SIG_DFL) if number not in (signal.SIGKILL, signal.SIGSTOP) else None
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)


def _owner() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _say_lost(error: TFusionError) -> None:
    print(f"tfusion: the program has lost its GPU: {error}", file=sys.stderr)
