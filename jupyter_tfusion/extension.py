"""The Jupyter server extension: slices of this server's kernels, and of the host for who may see them.

Jupyter Server makes one TFusionExtension. Its handlers are in handlers.py; what it knows is in view.py, fed by threads
that follow the GPU servers (daemon_link.py) and by the kernels' provisioners (leases.py). What must hold: the event
loop waits for no GPU server, no GPU server is started from here, and nothing is emitted while nothing changes.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import prometheus_client
from jupyter_events.logger import EventLogger
from jupyter_server.extension.application import ExtensionApp
from traitlets import Bool, Float, Unicode, default

from gpu_server.client import EndingKind, StateChange, default_socket
from jupyter_tfusion.daemon_link import STOPPED, DaemonLink
from jupyter_tfusion.leases import LEASES, Record
from jupyter_tfusion.metrics import ExtensionCollector
from jupyter_tfusion.notices import Notices
from jupyter_tfusion.view import UNKNOWN_SLICE, Difference, View

SLICES_SCHEMA = "https://schema.jupyter-tfusion.org/slices/v1"
NOTICES_SCHEMA = "https://schema.jupyter-tfusion.org/notices/v1"
KERNEL_ACTIONS_SCHEMA = "https://events.jupyter.org/jupyter_server/kernel_actions/v1"
LEAST_PAUSE_S = 0.25
"""Between two events."""


class TFusionExtension(ExtensionApp):
    """Shows the GPU slices of this server's kernels, and lets their users free, fetch and reset them."""

    name = "jupyter_tfusion"
    load_other_extensions = True

    server = Unicode(
        config=True,
        help="Path of the control socket of the GPU server that is shown while no kernel has a slice. Empty: the one "
        "that kernels use, by TFusionProvisioner.server, $TFUSION_SERVER, or the user's own. It is never started from "
        "here.",
    )
    host_view = Bool(
        False,
        config=True,
        help="Whether users of this Jupyter server may see the slices of everybody on the host, with names, owners and "
        "use, and swap out, resume and reset them: the teacher's view. It gives away who works on what, and ends "
        "others' work on request. Needs the GPU server's admin token, and the authorizer's consent to the resource "
        "'jupyter_tfusion_host'; Jupyter's own authorizer consents to everything.",
    )
    idle_warning_s = Float(
        300.0,
        min=0.0,
        config=True,
        help="Seconds before a limit of the GPU server ends what an idle kernel has on the GPU at which its user is "
        "warned; at most half of that limit.",
    )

    @default("server")
    def _default_server(self) -> str:
        return str(self.config.get("TFusionProvisioner", {}).get("server", ""))

    # -- called by Jupyter Server

    def initialize_settings(self) -> None:
        """Before the event loop runs."""
        self._links: dict[Path, DaemonLink] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._flush: asyncio.TimerHandle | None = None
        self._flushed_at = 0.0
        self._host_changed = False
        self.serial = time.time_ns() // 1_000_000
        """Of the newest event about slices. A server that was restarted begins above where it was, so browsers that
        still know the one before notice."""
        self._difference = Difference()
        self._stop_listening: Callable[[], None] = _nothing
        self._stopped = False
        main = Path(os.path.abspath(self.server or default_socket()))
        self._main = main
        self.view = View(main, self.records, time.monotonic)
        self.notices = Notices(lambda data: self._emit(NOTICES_SCHEMA, data), self.idle_warning_s)
        self.collector = ExtensionCollector(self.view)
        for name in ("slices", "notices"):
            schema = resources.files("jupyter_tfusion") / "event_schemas" / f"{name}.yaml"
            self._events.register_event_schema(schema.read_text(encoding="utf-8"))
        prometheus_client.REGISTRY.register(self.collector)

    def initialize_handlers(self) -> None:
        """Adds the REST interface."""
        from jupyter_tfusion.routes import handlers

        self.handlers.extend(handlers())

    async def _start_jupyter_server_extension(self, serverapp: Any) -> None:
        """The event loop runs."""
        self._loop = asyncio.get_running_loop()
        loop = self._loop
        self._stop_listening = LEASES.listen(lambda: _hand_over(loop, self._leases_changed))
        # A kernel that has started, or is gone, is in Jupyter's list only after its provisioner has told of its slice.
        self._events.add_listener(schema_id=KERNEL_ACTIONS_SCHEMA, listener=self._kernels_changed)
        self._follow(self._main)
        self._leases_changed()

    async def stop_extension(self) -> None:
        """The server ends."""
        if self._stopped:
            return
        self._stopped = True
        self._loop = None
        self._stop_listening()
        self._events.remove_listener(schema_id=KERNEL_ACTIONS_SCHEMA, listener=self._kernels_changed)
        if self._flush is not None:
            self._flush.cancel()
        self.notices.close()
        prometheus_client.REGISTRY.unregister(self.collector)
        links, self._links = list(self._links.values()), {}
        for link in links:
            await asyncio.to_thread(link.close)

    # -- what handlers ask

    def records(self) -> list[Record]:
        """The slices of this server's kernels; not those of kernels that others run in this process."""
        return [record for record in LEASES.all() if self.runs(record.kernel_id)]

    def record(self, kernel_id: str) -> Record | None:
        """The slice of one of this server's kernels."""
        return LEASES.find(kernel_id) if self.runs(kernel_id) else None

    def runs(self, kernel_id: str) -> bool:
        """Whether this server has such a kernel."""
        assert self.serverapp is not None
        return kernel_id in self.serverapp.kernel_manager

    def link(self, socket: Path) -> DaemonLink | None:
        """The link to a GPU server."""
        return self._links.get(socket)

    # -- what happens

    def _follow(self, socket: Path) -> None:
        if self._loop is None or socket in self._links:
            return
        loop = self._loop
        link = self._links[socket] = DaemonLink(
            socket,
            lambda path, change: _hand_over(loop, self._take, path, change),
            lambda path, sentence: _hand_over(loop, self._lose, path, sentence),
        )
        link.start()

    async def _kernels_changed(self, logger: EventLogger, schema_id: str, data: dict[str, Any]) -> None:
        self._leases_changed()

    def _leases_changed(self) -> None:
        """A kernel got a slice, or has none any more."""
        if self._loop is None:
            return  # kernels are shut down after the extension
        records = self.records()
        for record in records:
            socket = record.lease.client.socket
            self._follow(socket)
            if not self.view.daemons.get(socket) or not self.view.daemons[socket].connected:
                self._links[socket].look_now()
            if record.ended:
                self.notices.lost(record, record.ended)
        self.notices.forget({record.slice_id for record in records})
        for socket in set(self._links) - {self._main} - {record.lease.client.socket for record in records}:
            self._leave(socket)
        self._note()

    def _leave(self, socket: Path) -> None:
        """No kernel uses this GPU server any more."""
        link = self._links.pop(socket)
        self.view.forget(socket)
        self._host_changed |= self.host_view
        if self._loop is not None:
            self._loop.run_in_executor(None, link.close)

    def _take(self, socket: Path, change: StateChange) -> None:
        if socket not in self._links:
            return  # it was left just now
        before = self.view.daemons.get(socket)
        known = set(before.slices) if before else set()
        self.view.take(socket, change)
        self._host_changed |= self.host_view
        ours = {r.slice_id: r for r in self.records() if r.lease.client.socket == socket}
        there = self.view.daemons[socket].slices
        for ending in dict.fromkeys(change.endings):
            if ending.slice_id in ours:
                if ending.kind is EndingKind.SLICE:
                    self.view.note_end(ending.slice_id, ending.sentence)
                others = ending.slice_id in there and there[ending.slice_id][1].sessions > 0
                self.notices.ended(ours[ending.slice_id], ending, others)
        for slice_id, record in ours.items():
            if slice_id in known and slice_id not in there:
                self.notices.lost(record, UNKNOWN_SLICE)
        for s in change.slices:
            if s.slice_id in ours:
                self.notices.note_limit(ours[s.slice_id], s.idle_s, s.ends_in_s)
        self._note()

    def _lose(self, socket: Path, sentence: str) -> None:
        if socket not in self._links:
            return
        before = self.view.daemons.get(socket)
        self.view.lose(socket, sentence)
        if before is not None and sentence == STOPPED:
            for record in self.records():
                if record.slice_id in before.slices:
                    self.notices.lost(record, sentence)
        self._host_changed |= self.host_view
        self._note()

    def _note(self) -> None:
        """Something may have changed for the browser; it is told soon, with what else changes meanwhile."""
        if self._flush is None and self._loop is not None:
            wait_s = max(0.0, self._flushed_at + LEAST_PAUSE_S - time.monotonic())
            self._flush = self._loop.call_later(wait_s, self._tell)

    def _tell(self) -> None:
        self._flush = None
        host_changed, self._host_changed = self._host_changed, False
        data = self._difference.of(self.view, host_changed, time.monotonic())
        if data is not None:
            self._flushed_at = time.monotonic()
            self.serial += 1
            self._emit(SLICES_SCHEMA, {**data, "serial": self.serial})

    def _emit(self, schema_id: str, data: dict[str, Any]) -> None:
        self.collector.events[schema_id] += 1
        self._events.emit(schema_id=schema_id, data=data)

    @property
    def _events(self) -> EventLogger:
        assert self.serverapp is not None
        logger = self.serverapp.event_logger
        assert isinstance(logger, EventLogger)
        return logger


def _nothing() -> None:
    """Nobody listens yet."""


def _hand_over(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *arguments: object) -> None:
    """From any thread to the event loop; nothing once that is closed."""
    try:
        loop.call_soon_threadsafe(call, *arguments)
    except RuntimeError:
        pass
