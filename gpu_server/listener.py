"""The session socket: accepts client processes, reads one Hello of each, and passes it on.

Connections that say nothing are bounded in number and in time. A client that was handed to a worker is forgotten
here; one that is refused gets its Welcome and is closed, an observer its answer.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from gpu_server.handshake import HELLO, BadHello, Hello, Welcome, WelcomeStatus

log = logging.getLogger("tfusion.listener")

BACKLOG = 128
ACCEPT_PAUSE_S = 0.1
ANSWER_TIMEOUT_S = 2.0

Admit = Callable[[Hello, socket.socket], Awaitable[Welcome | None]]
Observe = Callable[[Hello, socket.socket], bytes]


class SessionListener:
    """The listening socket and the connections that have not been answered yet. For one event loop."""

    def __init__(
        self, path: Path, admit: Admit, observe: Observe, *, hello_timeout_s: float, max_pending: int
    ) -> None:
        self._path = path
        self._admit = admit
        self._observe = observe
        self._hello_timeout_s = hello_timeout_s
        self._max_pending = max_pending
        self._silent: dict[asyncio.Task[None], None] = {}  # have not said Hello; oldest first
        self._tasks: set[asyncio.Task[None]] = set()
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def silent(self) -> int:
        """Connections that have not said who they are."""
        return len(self._silent)

    def start(self) -> None:
        """Listens, with mode 0600. Precondition: nothing is at the path. Raises OSError."""
        self._socket = socket.socket(
            socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        self._socket.bind(os.fspath(self._path))
        os.chmod(self._path, 0o600)
        self._socket.listen(BACKLOG)
        self._accepting = asyncio.create_task(self._accept())

    def refuse_new(self) -> None:
        """From now on every Hello is answered with `stopping`."""
        self._stopping = True

    async def close(self) -> None:
        """Closes the socket, removes its file, and drops every connection that has no session yet."""
        self._stopping = True
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.wait([self._accepting])
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks))
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            self._path.unlink(missing_ok=True)

    # -- inside

    async def _accept(self) -> None:
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._socket)
            except OSError as error:
                log.warning("a client process could not be accepted: %s", error.strerror)
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                    await asyncio.sleep(ACCEPT_PAUSE_S)  # nothing tells us when descriptors are free again
                continue
            if len(self._silent) >= self._max_pending:
                oldest = next(iter(self._silent))
                del self._silent[oldest]
                oldest.cancel()
            task = asyncio.create_task(self._serve(connection))
            self._silent[task] = None
            self._tasks.add(task)
            task.add_done_callback(functools.partial(self._done, connection))

    def _done(self, connection: socket.socket, task: asyncio.Task[None]) -> None:
        connection.close()
        self._silent.pop(task, None)
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a client process could not be answered", exc_info=error)

    async def _serve(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        try:
            data = await asyncio.wait_for(self._read(connection), self._hello_timeout_s)
        except asyncio.TimeoutError:
            log.info("a connection said nothing for %g s and was dropped", self._hello_timeout_s)
            return
        except (EOFError, OSError):
            return
        finally:
            task = asyncio.current_task()
            if task is not None:
                self._silent.pop(task, None)
        answer = await self._answer(data, connection)
        if answer is not None:
            await _send(connection, answer)

    async def _answer(self, data: bytes, connection: socket.socket) -> bytes | None:
        if self._stopping:
            return Welcome(
                WelcomeStatus.STOPPING, "The GPU server is stopping. Restart the kernel when it runs again."
            ).pack()
        try:
            hello = Hello.unpack(data)
        except BadHello as error:
            return Welcome(WelcomeStatus.BAD_HELLO, str(error)).pack()
        if hello.observer:
            return self._observe(hello, connection)
        refusal = await self._admit(hello, connection)
        return refusal.pack() if refusal is not None else None

    @staticmethod
    async def _read(connection: socket.socket) -> bytes:
        """Exactly one Hello, or one byte more so that its size is found wrong."""
        loop = asyncio.get_running_loop()
        data = b""
        while len(data) < HELLO.size:
            chunk = await loop.sock_recv(connection, HELLO.size + 1 - len(data))
            if not chunk:
                raise EOFError
            data += chunk
        return data


async def _send(connection: socket.socket, answer: bytes) -> None:
    # It fits into the socket's buffer, so that a client which does not read it holds nothing up.
    try:
        await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(connection, answer), ANSWER_TIMEOUT_S)
    except (asyncio.TimeoutError, OSError):
        pass  # the client did not want to know
