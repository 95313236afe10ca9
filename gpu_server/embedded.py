"""Starts an embedded daemon: a detached `tfusion serve --embedded` that serves one user and ends itself when idle.

Used by gpu_server.client.connect(). Two clients may start one at the same moment: the daemons settle it by the lock of
the runtime folder, and the one that is not needed reports ready as soon as the other is. Readiness, or the sentence
that says why it cannot be, comes through a pipe.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path

from gpu_server.errors import ServerUnreachable
from gpu_server.runtime_folder import LOG_FILE, make_private
from gpu_server.server_environment import server_environment

START_TIMEOUT_S = 60.0
READY = b"ready"


def start_embedded(control_socket: Path, timeout_s: float = START_TIMEOUT_S) -> None:
    """Returns when a daemon answers at ``control_socket``; raises ServerUnreachable with its own words.

    The daemon is no child of ours: it survives us, and leaves no zombie. TFusionError if the folder is not private.
    """
    folder = control_socket.parent
    make_private(folder)
    log = folder / LOG_FILE
    reader, writer = os.pipe()
    try:
        with open(log, "ab", opener=_private) as output:
            start = output.tell()
            starter = subprocess.Popen(
                [
                    sys.executable, "-m", "gpu_server.cli", "serve", "--embedded",
                    "--socket", os.fspath(control_socket), "--ready-fd", str(writer),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=server_environment(os.environ),
                cwd="/",
                start_new_session=True,
                pass_fds=(writer,),
            )  # fmt: skip
        os.close(writer)
        writer = -1
        report = _read_report(reader, timeout_s)
        if report is None:
            starter.poll()
            raise ServerUnreachable(
                f"The GPU server was started but is not ready after {timeout_s:g} s. Its log is {log}."
            )
        starter.wait()  # it has long left the daemon to itself
    except OSError as error:
        raise ServerUnreachable(f"The GPU server could not be started: {error}.") from None
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
    if report == READY:
        return
    words = report.decode(errors="replace").removeprefix("error: ") or _last_line(log, start)
    raise ServerUnreachable(f"The GPU server could not start: {words} Its log is {log}.")


def _read_report(reader: int, timeout_s: float) -> bytes | None:
    """The daemon's one line; b"" if it ended without one, None if the time is over."""
    deadline = time.monotonic() + timeout_s
    poller = select.poll()
    poller.register(reader, select.POLLIN)
    data = b""
    while not data.endswith(b"\n"):
        if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
            return None
        chunk = os.read(reader, 4096)
        if not chunk:
            break
        data += chunk
    return data.strip()


def _last_line(log: Path, start: int) -> str:
    with open(log, "rb") as file:
        file.seek(start)
        lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing."


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
