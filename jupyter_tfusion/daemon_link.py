"""Follows one GPU server from a thread of its own: connects when there is one, reads its state watch, connects again.

The server extension has one for each control socket that matters. Everything is handed to the event loop; nothing of
the network is ever waited for there. While no GPU server is there, the thread looks for its socket now and then, more
and more seldom, and at once when a kernel has started one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from gpu_server.client import (
    ControlClient,
    ServerUnreachable,
    StateChange,
    Stream,
    TFusionError,
    connect,
    default_socket,
)

log = logging.getLogger("tfusion.jupyter")

FIRST_RETRY_S = 2.0
LAST_RETRY_S = 30.0
UNREADABLE = (
    "What the GPU server says could not be read; Jupyter's log says why. Install the same version of jupyter-tfusion "
    "on both sides, then restart both."
)

STOPPED = "The GPU server has stopped, and with it all that ran on the GPU."


class DaemonLink:
    """The link to the daemon at ``socket``. Callbacks come on the link's thread.

    ``on_change`` gets every message of the watch, the first one with all there is; ``on_down`` the sentence that says
    why there is none, when the link breaks and once when there is none to begin with.
    """

    def __init__(
        self,
        socket: Path,
        on_change: Callable[[Path, StateChange], None],
        on_down: Callable[[Path, str], None],
    ) -> None:
        self.socket = socket
        self._on_change = on_change
        self._on_down = on_down
        self._lock = threading.Lock()  # guards _client, _stream and _closed
        self._client: ControlClient | None = None
        self._stream: Stream[StateChange] | None = None
        self._closed = False
        self._wake = threading.Event()
        self._said = ""
        self._thread = threading.Thread(target=self._run, name="tfusion-watch", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def look_now(self) -> None:
        """There may be a daemon now."""
        self._wake.set()

    @property
    def client(self) -> ControlClient | None:
        """The connection, while there is one."""
        return self._client

    def close(self) -> None:
        """Ends the thread; returns when it has ended."""
        with self._lock:
            self._closed = True
            stream = self._stream
        if stream is not None:
            stream.close()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()

    # -- on the thread

    def _run(self) -> None:
        pause_s = FIRST_RETRY_S
        while not self._closed:
            self._wake.clear()
            try:
                self._follow()
                pause_s = FIRST_RETRY_S
            except TFusionError as error:
                self._say(str(error))
            except Exception:  # whatever it is, the thread must live, and what is shown must not look alive
                log.exception("The link to the GPU server at %s broke", self.socket)
                self._say(UNREADABLE)
            if not self._closed:
                pause_s = FIRST_RETRY_S if self._wake.wait(pause_s) else min(LAST_RETRY_S, 1.5 * pause_s)

    def _follow(self) -> None:
        # The default socket's folder must be ours alone, which connect() looks at if it is not told the path.
        with connect(None if self.socket == default_socket() else self.socket, start=False) as client:
            stream = client.watch_state()
            with self._lock:
                if self._closed:
                    stream.close()
                    return
                self._client, self._stream = client, stream
            try:
                for change in stream:
                    self._said = ""
                    self._on_change(self.socket, change)
            except ServerUnreachable:
                pass  # it was killed; the sentence is the same
            finally:
                with self._lock:
                    self._client = self._stream = None
            self._say(STOPPED)

    def _say(self, sentence: str) -> None:
        if not self._closed and sentence != self._said:
            self._said = sentence
            self._on_down(self.socket, sentence)
