"""The worker process: opens one GPU through the replay core, serves one session, ends.

Started by the daemon (gpu_server/workers.py) as ``python -m gpu_server.worker``, with its end of the control channel
as an inherited file descriptor. The main thread opens the GPU and then serves; a second thread reads the control
channel. The process outlives neither the daemon (parent-death signal, end of the channel) nor its
session, so an error of the GPU context stays with the learner who caused it.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import os
import queue
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, cast

from gpu_server import worker_channel

_PR_SET_PDEATHSIG = 1


class ReplayCore(Protocol):
    """gpu_server._replay.Worker, written in C++ (gpu_server/replay)."""

    def facts(self) -> dict[str, object]:
        """What the driver says of the GPU."""

    def serve(
        self,
        client_fd: int,
        vram_limit_bytes: int,
        account_fd: int,
        account_slot: int,
        turn_fd: int,
        orders_fd: int,
        bell_fd: int,
        spill_folder: str,
        piece_bytes: int,
    ) -> tuple[str, str]:
        """Answers the client until the session ends: (reason, detail)."""

    def stop(self, reason: str) -> None:
        """Ends serve() from another thread."""


@dataclass(frozen=True)
class SessionOrder:
    """The daemon's message "session"."""

    vram_limit_bytes: int
    account_slot: int
    spill_folder: str
    piece_bytes: int
    client_fd: int
    account_fd: int
    turn_fd: int
    orders_fd: int
    bell_fd: int


class WorkerMain:
    """The two threads' shared state; ``run()`` is the main thread's."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._sending = threading.Lock()
        self._orders: queue.SimpleQueue[SessionOrder] = queue.SimpleQueue()
        self._serving: ReplayCore | None = None  # set once, before _taken
        self._taken = threading.Event()

    def run(self, driver: str, device: int, cache: str) -> int:
        """Opens the GPU, waits for the one session, serves it; gives the exit status."""
        threading.Thread(target=self._control, name="control", daemon=True).start()
        try:
            core = open_core(driver, device, cache)
            facts = core.facts()
        except Exception as error:  # whatever it is, the daemon is to know it
            return self._fail(f"{error}" or type(error).__name__)
        self._send({"type": "ready", "facts": {name: _plain(value) for name, value in facts.items()}})
        order = self._orders.get()
        self._serving = core
        self._taken.set()
        self._send({"type": "started"})
        status = 0
        try:
            reason, detail = core.serve(
                order.client_fd,
                order.vram_limit_bytes,
                order.account_fd,
                order.account_slot,
                order.turn_fd,
                order.orders_fd,
                order.bell_fd,
                order.spill_folder,
                order.piece_bytes,
            )
        except Exception as error:
            reason, detail, status = "worker_error", str(error), 1
        self._send({"type": "ended", "reason": reason, "detail": detail[:2000]})
        return status

    def _fail(self, detail: str) -> int:
        print(detail, file=sys.stderr, flush=True)
        self._send({"type": "failed", "detail": detail[:2000]})
        return 1

    def _send(self, message: dict[str, Any]) -> None:
        try:
            with self._sending:
                worker_channel.send(self._channel, message)
        except OSError:
            leave(1)  # the daemon is gone, and nobody would ever stop us

    def _control(self) -> None:
        while True:
            self._take_message()

    def _take_message(self) -> None:
        message, fds = worker_channel.receive(self._channel)
        if message is None:
            leave(1)
        if message["type"] == "session" and len(fds) == worker_channel.SESSION_FDS:
            self._orders.put(
                SessionOrder(
                    int(message["vram_limit_bytes"]),
                    int(message["account_slot"]),
                    str(message["spill_folder"]),
                    int(message["piece_bytes"]),
                    *fds,
                )
            )
            self._taken.wait()  # so that a stop which follows finds the session being served
        elif message["type"] == "stop":
            self._stop(str(message.get("reason", "stopped")))
        else:
            print(f"unknown control message {message['type']!r}", file=sys.stderr, flush=True)
            leave(1)

    def _stop(self, reason: str) -> None:
        if self._serving is None:
            leave(0)
        self._serving.stop(reason)  # also ends a serve() that begins after it


def open_core(driver: str, device: int, cache: str) -> ReplayCore:
    """Loads the replay core and with it the driver; raises ImportError or RuntimeError with a sentence."""
    try:
        replay = importlib.import_module("gpu_server._replay")
    except ImportError as error:
        raise ImportError(
            f"The replay core of the GPU server could not be loaded: {error}. Install jupyter-tfusion from its "
            "wheel, or build the C++ parts."
        ) from None
    return cast(ReplayCore, replay.Worker(driver, device, cache))


def leave(status: int) -> NoReturn:
    """Ends the process without the driver's exit handlers, which may wait for a kernel that never ends."""
    sys.stderr.flush()
    os._exit(status)


def die_with_parent(parent_pid: int) -> None:
    """The kernel kills us when the daemon dies, however it dies."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent_pid:  # it died before we asked
        leave(1)


def _plain(value: object) -> object:
    return value if isinstance(value, (str, int, float, bool, list, tuple, dict, type(None))) else str(value)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Entry point of ``python -m gpu_server.worker``."""
    parser = argparse.ArgumentParser(
        prog="gpu_server.worker", description="One session's worker; the daemon runs it."
    )
    parser.add_argument("--control-fd", type=int, required=True, help="inherited end of the control channel")
    parser.add_argument("--parent-pid", type=int, required=True, help="process id of the daemon")
    parser.add_argument("--driver", required=True, help="path of the libcuda.so.1 to open")
    parser.add_argument("--device", type=int, default=0, help="ordinal of the GPU in that driver")
    parser.add_argument("--cache", required=True, help="folder of the image cache")
    options = parser.parse_args(argv)
    die_with_parent(options.parent_pid)
    os.umask(0o077)
    # What this process itself has to say goes to the log also when the output of kernels is redirected.
    sys.stderr = os.fdopen(os.dup(sys.stderr.fileno()), "w", buffering=1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the daemon decides when a worker ends
    channel = socket.socket(fileno=options.control_fd)
    channel.set_inheritable(False)
    leave(WorkerMain(channel).run(options.driver, options.device, options.cache))


if __name__ == "__main__":
    main()
