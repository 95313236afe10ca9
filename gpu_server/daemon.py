"""The daemon's life: lock, sockets, gRPC server, signals, and the end. `tfusion serve` runs run_daemon().

Order matters. The folder's lock comes first, so every socket that is then found in the folder is a dead daemon's. At
the end the sockets go before the lock, so the next daemon never meets a half-dead one. An embedded daemon that finds
the lock held waits until either the holder answers (then it is not needed) or the lock is free.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

os.environ.setdefault(
    "GRPC_ENABLE_FORK_SUPPORT", "false"
)  # workers are started by exec, never by a bare fork
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import grpc.aio

from gpu_server.admin_token import remove_admin_token, write_admin_token
from gpu_server.config import TFusionServer
from gpu_server.errors import TFusionError
from gpu_server.gpus import take_inventory
from gpu_server.listener import SessionListener
from gpu_server.proto import control_pb2_grpc
from gpu_server.runtime_folder import (
    SESSION_SOCKET,
    AlreadyRunning,
    FolderLock,
    check_socket_path,
    is_alive,
    make_private,
    remove_stale_socket,
)
from gpu_server.server import GpuServer
from gpu_server.service import ControlService
from gpu_server.sizes import format_size
from gpu_server.workers import WORKER_COMMAND

if TYPE_CHECKING:
    from gpu_server.metrics import MetricsServer

log = logging.getLogger("tfusion.daemon")

READY = "ready"
LAST_REPLIES_GRACE_S = 1.0
LOCK_POLL_S = 0.05


class Daemon:
    """A GpuServer with its sockets. start() returns when clients can connect, close() when everything is gone."""

    def __init__(self, config: TFusionServer, worker_command: Sequence[str] = WORKER_COMMAND) -> None:
        self.config = config
        self.control_socket = config.control_socket()
        self.session_socket = self.control_socket.parent / SESSION_SOCKET
        self._worker_command = worker_command
        self._lock: FolderLock | None = None
        self._cleanup = contextlib.AsyncExitStack()
        self.server: GpuServer
        self.listener: SessionListener
        self.service: ControlService
        self.metrics: MetricsServer

    def hold_folder(self) -> None:
        """Makes the runtime folder and takes its lock; raises AlreadyRunning, or TFusionError."""
        if self.control_socket.name == SESSION_SOCKET:
            raise TFusionError(
                f"The control socket cannot be named {SESSION_SOCKET}: that is the session socket's name."
            )
        for path in (self.control_socket, self.session_socket):
            check_socket_path(path)
        make_private(self.control_socket.parent)
        if self._lock is None:
            self._lock = FolderLock(self.control_socket.parent)

    async def start(self) -> None:
        """Starts everything; raises TFusionError with a sentence, and then nothing is left running."""
        try:
            self.hold_folder()
            for path in (self.control_socket, self.session_socket):
                remove_stale_socket(path)
            inventory = take_inventory(self.config, self.control_socket.parent)
            folder = self.control_socket.parent
            admin_token = write_admin_token(folder)
            self._cleanup.callback(remove_admin_token, folder)
            self.server = GpuServer(
                self.config, inventory, self.session_socket, self._worker_command, admin_token
            )
            self.listener = SessionListener(
                self.session_socket,
                self.server.sessions.admit,
                self.server.sessions.observe,
                hello_timeout_s=self.config.hello_timeout_s,
                max_pending=self.config.max_pending_hellos,
            )
            # Ended in the opposite order: the server's end answers the clients that still wait for a session.
            self._cleanup.push_async_callback(self.listener.close)
            self._cleanup.push_async_callback(self.server.close)
            self.server.start()
            if self.config.metrics_address:
                from gpu_server.metrics import MetricsServer  # most daemons need none, and start sooner

                self.metrics = MetricsServer(self.server, self.config.metrics_address)
                self._cleanup.push_async_callback(self.metrics.close)
                log.info("metrics at port %d", self.metrics.port)
            self.listener.start()
            await self._start_grpc()
        except OSError as error:
            await self.close()
            raise TFusionError(
                f"The GPU server cannot start in {self.control_socket.parent}: {error}."
            ) from None
        except BaseException:
            await self.close()
            raise
        for gpu in inventory.gpus():
            log.info("sharing %s (%s), %s", gpu.name, gpu.uuid, format_size(gpu.usable_bytes))
        log.info("control socket %s", self.control_socket)

    async def close(self) -> None:
        """Refuses what is new, ends workers, removes the sockets, lets go of the folder. May be called twice."""
        if hasattr(self, "server"):
            self.server.stopping = True
        if hasattr(self, "listener"):
            self.listener.refuse_new()
        await self._cleanup.aclose()
        if self._lock is not None:
            self._lock.release()

    async def idle(self) -> None:
        """Returns when nobody has needed this daemon for `embedded_idle_s`: no slice, no watcher, no request."""
        needed_at = self.server.clock()
        while True:
            now = self.server.clock()
            if not self.server.registry.empty() or self.server.events.watchers:
                needed_at = now
            left_s = max(needed_at, self.service.last_request_at) + self.config.embedded_idle_s - now
            if left_s <= 0:
                return
            await asyncio.sleep(min(left_s, 1.0))

    async def _start_grpc(self) -> None:
        grpc_server = grpc.aio.server(
            options=[("grpc.max_receive_message_length", 64 * 1024), ("grpc.so_reuseport", 0)]
        )
        self.service = ControlService(self.server)
        control_pb2_grpc.add_ControlServicer_to_server(self.service, grpc_server)  # type: ignore[no-untyped-call]
        try:
            grpc_server.add_insecure_port(f"unix:{self.control_socket}")
        except RuntimeError as error:
            raise TFusionError(
                f"The control socket {self.control_socket} cannot be opened: {error}."
            ) from None

        async def stop() -> None:
            self.server.events.close()  # ends the watchers' streams, which would hold stop() up
            await self.server.state.close()
            await grpc_server.stop(LAST_REPLIES_GRACE_S)
            self.control_socket.unlink(missing_ok=True)

        self._cleanup.push_async_callback(stop)
        await grpc_server.start()
        self.control_socket.chmod(0o600)


async def _hold_or_yield(daemon: Daemon) -> bool:
    """Takes the folder for an embedded daemon; False when another one answers there already."""
    while True:
        try:
            daemon.hold_folder()
            return True
        except AlreadyRunning:
            if is_alive(daemon.control_socket):
                return False
            await asyncio.sleep(
                LOCK_POLL_S
            )  # the holder is starting or ending; flock has no event to wait for


async def serve(config: TFusionServer, report_ready: ReadyReport | None = None) -> None:
    """Runs a daemon until SIGTERM or SIGINT, or until an embedded one is idle; raises TFusionError."""
    report = report_ready or ReadyReport(-1)
    daemon = Daemon(config)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if config.embedded and not await _hold_or_yield(daemon):
        report.send(READY)
        return
    await daemon.start()
    report.send(READY)
    waits = [asyncio.create_task(stop.wait())]
    if config.embedded:
        waits.append(asyncio.create_task(daemon.idle()))  # type: ignore[arg-type]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        log.info("stopping")
        for task in waits:
            task.cancel()
        await daemon.close()


class ReadyReport:
    """Tells whoever started us, through a pipe, that clients can connect or why they never can."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def send(self, text: str) -> None:
        """One line, once; nothing if nobody asked or nobody listens any more."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.write(self._fd, text.replace("\n", " ").encode() + b"\n")
            os.close(self._fd)
            self._fd = -1


def run_daemon(config: TFusionServer, ready_fd: int = -1) -> int:
    """`tfusion serve`: runs until told to stop; gives the exit status, and says on stderr why it could not run."""
    report = ReadyReport(ready_fd)
    os.umask(0o077)
    # Whoever started us may have blocked signals (`tfusion run` does); we must hear SIGTERM, and workers inherit it.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    logging.basicConfig(
        level=config.log_level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        asyncio.run(serve(config, report))
    except TFusionError as error:
        report.send(f"error: {error}")
        print(f"tfusion: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
