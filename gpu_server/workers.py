"""Worker processes as the daemon sees them: starting one, talking to it, ending it, and knowing how it ended.

A worker serves one session. Its stderr goes to the daemon's log, line by line with the worker's pid, and the last
lines are kept for the message that says why it died. Everything here runs on the daemon's event loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpu_server import worker_channel
from gpu_server.errors import WorkerFailed
from gpu_server.gpus import Gpu
from gpu_server.server_environment import server_environment

log = logging.getLogger("tfusion.worker")

TAIL_LINES = 20
MAX_LINE_BYTES = 4096
READS_PER_TURN = 16
WORKER_COMMAND = (sys.executable, "-m", "gpu_server.worker")


@dataclass(frozen=True)
class WorkerExit:
    """How a worker process ended. ``returncode`` as subprocess has it: negative for a signal."""

    returncode: int
    ended: Mapping[str, Any] | None  # its last message "ended", if it got that far
    tail: tuple[str, ...]  # the end of its stderr

    def how(self) -> str:
        """For a sentence that begins with "The worker": "was killed by signal 9 (SIGKILL)"."""
        if self.returncode < 0:
            try:
                name = signal.Signals(-self.returncode).name
            except ValueError:
                name = "unknown"
            return f"was killed by signal {-self.returncode} ({name})"
        return f"ended with status {self.returncode}"


@dataclass(eq=False)
class WorkerProcess:
    """One worker. Made by start_worker(); ``exited`` is done once the process is reaped and its stderr read."""

    gpu: Gpu
    pid: int
    process: subprocess.Popen[bytes]
    channel: socket.socket
    pidfd: int
    ready: asyncio.Future[None]
    exited: asyncio.Future[WorkerExit]
    facts: dict[str, Any] = field(default_factory=dict)
    on_message: Callable[[dict[str, Any]], None] | None = None
    _tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    _line: bytes = b""
    _ended: dict[str, Any] | None = None
    _failure: str = ""
    _killer: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        """Begins to read what the worker says and to wait for its end; start_worker() calls it once."""
        assert self.process.stderr is not None
        os.set_blocking(self.process.stderr.fileno(), False)
        loop = asyncio.get_running_loop()
        loop.add_reader(self.channel, self._readable)
        loop.add_reader(self.process.stderr, self._read_stderr)
        loop.add_reader(self.pidfd, self._reap)

    def give_session(self, order: Mapping[str, Any], fds: Sequence[int]) -> None:
        """Hands a session over, with the descriptors of worker_channel; raises OSError when the worker is gone."""
        worker_channel.send(self.channel, {"type": "session", **order}, list(fds))

    def stop(self, reason: str, grace_s: float) -> None:
        """Asks the worker to end, and kills it if it has not after ``grace_s`` seconds. May be called again."""
        if self.exited.done():
            return
        try:
            worker_channel.send(self.channel, {"type": "stop", "reason": reason})
        except OSError:
            self.kill()
            return
        if self._killer is None:
            self._killer = asyncio.get_running_loop().call_later(grace_s, self.kill)

    def kill(self) -> None:
        """SIGKILL at once."""
        if not self.exited.done():
            try:
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it is gone already; _reap() is about to say so

    def failure(self) -> str:
        """Why a worker that is not ready will not become so. Precondition: ``exited`` is done."""
        ending = self.exited.result()
        if self._failure:
            return self._failure
        tail = f" It said last: {ending.tail[-1]}" if ending.tail else ""
        return f"The worker for {self.gpu.name} {ending.how()} before it was ready.{tail}"

    # -- inside

    def _readable(self) -> None:
        while True:
            try:
                message, fds = worker_channel.receive(self.channel)
            except BlockingIOError:
                return
            except (worker_channel.ChannelError, OSError) as error:
                log.error("worker %d: its control channel broke (%s)", self.pid, error)
                self._stop_reading()
                self.kill()
                return
            for fd in fds:
                os.close(fd)
            if message is None:
                self._stop_reading()
                return
            self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "ready":
            self.facts = dict(message.get("facts", {}))
            if not self.ready.done():
                self.ready.set_result(None)
        elif message["type"] == "failed":
            self._failure = str(message.get("detail", ""))
        elif message["type"] == "ended":
            self._ended = message
        if self.on_message is not None:
            self.on_message(message)

    def _stop_reading(self) -> None:
        asyncio.get_running_loop().remove_reader(self.channel)

    def _read_stderr(self) -> None:
        assert self.process.stderr is not None
        for _ in range(READS_PER_TURN):  # a worker that floods its stderr must not hold the others up
            try:
                chunk = os.read(self.process.stderr.fileno(), MAX_LINE_BYTES)
            except BlockingIOError:
                return
            if not chunk:
                asyncio.get_running_loop().remove_reader(self.process.stderr)
                return
            *lines, self._line = (self._line + chunk).split(b"\n")
            if len(self._line) > MAX_LINE_BYTES:
                lines, self._line = [*lines, self._line], b""
            for line in lines:
                self._log_line(line)

    def _log_line(self, line: bytes) -> None:
        text = "".join(c if c.isprintable() else "?" for c in line.decode(errors="replace").rstrip())
        if text:
            self._tail.append(text)
            log.info("worker %d: %s", self.pid, text)

    def _reap(self) -> None:
        assert self.process.stderr is not None
        loop = asyncio.get_running_loop()
        loop.remove_reader(self.pidfd)
        returncode = self.process.wait()  # it has ended, so this does not block
        # What it said last. Not to the end of its stderr: a child of it could hold that open.
        self._readable()
        self._read_stderr()
        self._log_line(self._line)
        loop.remove_reader(self.process.stderr)
        self.process.stderr.close()
        self._stop_reading()
        self.channel.close()
        os.close(self.pidfd)
        if self._killer is not None:
            self._killer.cancel()
        self.exited.set_result(WorkerExit(returncode, self._ended, tuple(self._tail)))
        if not self.ready.done():
            self.ready.set_exception(WorkerFailed(self.failure()))
            self.ready.exception()  # whoever waits has it; nobody waiting is no error


def start_worker(gpu: Gpu, cache: Path, command: Sequence[str] = WORKER_COMMAND) -> WorkerProcess:
    """Starts a worker process for ``gpu``; it is not ready yet. Raises WorkerFailed if it cannot even be started.

    Blocks for the milliseconds that a spawn takes. Must run on the main thread: the worker's parent-death signal
    follows the thread that started it.
    """
    loop = asyncio.get_running_loop()
    ours, theirs = worker_channel.pair()
    environment = {**server_environment(os.environ), **gpu.environment}
    try:
        with theirs:
            process = subprocess.Popen(
                [
                    *command,
                    f"--control-fd={theirs.fileno()}",
                    f"--parent-pid={os.getpid()}",
                    f"--driver={gpu.driver_path}",
                    "--device=0",
                    f"--cache={cache}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=environment,
                cwd="/",
                start_new_session=True,
                pass_fds=(theirs.fileno(),),
            )
    except OSError as error:
        ours.close()
        raise WorkerFailed(f"A worker for {gpu.name} could not be started: {error.strerror}.") from None
    ours.setblocking(False)
    worker = WorkerProcess(
        gpu=gpu,
        pid=process.pid,
        process=process,
        channel=ours,
        pidfd=os.pidfd_open(process.pid),
        ready=loop.create_future(),
        exited=loop.create_future(),
    )
    worker.watch()
    return worker
