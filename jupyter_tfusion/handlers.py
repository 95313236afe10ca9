"""The REST handlers of the server extension. routes.py says which paths they have and documents them.

Every method is authenticated and authorized, with a resource that is named at the method (an authorizer may tell the
learner's things from the teacher's). GPU servers are asked on threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from tornado import web

from gpu_server.client import ControlClient, TFusionError, read_admin_token
from jupyter_tfusion.host_timeline import slice_samples
from jupyter_tfusion.leases import Record
from jupyter_tfusion.sentence_error import SentenceError
from jupyter_tfusion.view import Json, story

if TYPE_CHECKING:
    from jupyter_tfusion.extension import TFusionExtension

T = TypeVar("T")

OWN = "jupyter_tfusion"
HOST = "jupyter_tfusion_host"

NO_RIGHT = (
    "You may not see or change the slices of others here. If you teach on this host, ask whoever runs this "
    "Jupyter server for the host view."
)
ACTIONS: dict[str, Callable[[ControlClient, str, str], None]] = {
    "swap-out": ControlClient.swap_out_slice,
    "resume": ControlClient.resume_slice,
    "reset": ControlClient.reset_slice,
}


class Handler(APIHandler):
    """What all have in common."""

    auth_resource = OWN

    @property
    def extension(self) -> TFusionExtension:
        """The extension whose handler this is."""
        extension: TFusionExtension = self.settings["jupyter_tfusion"]
        return extension

    async def act(self, action: str, ask: Callable[[], None]) -> None:
        """Does what is asked on a thread, counts it, and answers 204."""
        counted = self.extension.collector.actions
        try:
            await on_thread(ask)
        except SentenceError:
            counted[action, "refused"] += 1
            raise
        counted[action, "done"] += 1
        self.set_status(HTTPStatus.NO_CONTENT)
        self.finish()

    def refuse(self, sentence: str, status: HTTPStatus) -> NoReturn:
        """Ends the request."""
        raise SentenceError(sentence, status)


class _KernelHandler(Handler):
    def kernel(self, kernel_id: str) -> Record:
        """The kernel's slice, the last one if it is gone; 404 if there is none."""
        record = self.extension.record(kernel_id)
        if record is not None:
            return record
        if self.extension.runs(kernel_id):
            sentence = "This kernel has no GPU slice. Choose a kernel with 'vGPU' in its name to get one."
        else:
            sentence = "This server runs no kernel of that id. It may have been shut down."
        raise SentenceError(sentence, HTTPStatus.NOT_FOUND)


class _HostHandler(Handler):
    def check_right(self) -> None:
        """403 unless the host view is allowed here; the authorizer has been asked before."""
        if not self.extension.host_view:
            self.refuse(NO_RIGHT, HTTPStatus.FORBIDDEN)


async def on_thread(call: Callable[[], T]) -> T:
    """call()'s result, computed on a thread; what the GPU server says against it is 409."""
    try:
        return await asyncio.to_thread(call)
    except TFusionError as error:
        raise SentenceError(str(error)) from error


class StateHandler(Handler):
    """What the learner sees."""

    auth_resource = OWN

    @web.authenticated
    @authorized(resource=OWN)
    async def get(self) -> None:
        """GPUs, and the slices of this server's kernels."""
        extension = self.extension
        may_see_host = extension.host_view and await ensure_async(
            self.authorizer.is_authorized(self, self.current_user, "read", HOST)
        )
        view = extension.view
        self.finish(
            {
                "server": view.server(),
                "may_see_host": bool(may_see_host),
                "gpus": view.gpus(),
                "slices": view.own_slices(),
                "serial": extension.serial,
            }
        )


class KernelActionHandler(_KernelHandler):
    """What a learner does with the slice of a kernel."""

    auth_resource = OWN

    @web.authenticated
    @authorized(resource=OWN)
    async def post(self, kernel_id: str, action: str) -> None:
        """Swap out, resume or reset."""
        record = self.kernel(kernel_id)
        if record.ended:
            self.refuse(record.ended, HTTPStatus.CONFLICT)
        opened = record.lease.opened
        client = record.lease.client
        await self.act(action, lambda: ACTIONS[action](client, opened.slice_id, opened.token))


class KernelStoryHandler(_KernelHandler):
    """What was decided about the slice of a kernel."""

    auth_resource = OWN

    @web.authenticated
    @authorized(resource=OWN)
    async def get(self, kernel_id: str) -> None:
        """The decisions and their reasons, oldest first."""
        record = self.kernel(kernel_id)
        # That of a slice that has ended can still be told, though its own connection is closed.
        link = self.extension.link(record.lease.client.socket)
        client = (link and link.client) or record.lease.client
        self.finish(story(await on_thread(lambda: client.story(record.slice_id))))


class HostHandler(_HostHandler):
    """What the teacher sees."""

    auth_resource = HOST

    @web.authenticated
    @authorized(resource=HOST, message=NO_RIGHT)
    async def get(self) -> None:
        """GPUs, and everybody's slices."""
        self.check_right()
        view = self.extension.view
        self.finish({"gpus": view.gpus(), "slices": view.all_slices()})


class HostActionHandler(_HostHandler):
    """What a teacher does with anybody's slice."""

    auth_resource = HOST

    @web.authenticated
    @authorized(resource=HOST, message=NO_RIGHT)
    async def post(self, slice_id: str, action: str) -> None:
        """Swap out, resume or reset."""
        self.check_right()
        socket = self.extension.view.socket_of(slice_id)
        client = self._client(socket)
        if socket is None or client is None:
            self.refuse("There is no open slice of that id. It may have ended.", HTTPStatus.NOT_FOUND)
        await self.act(action, lambda: ACTIONS[action](client, slice_id, read_admin_token(socket)))
        self.log.info("%s: %s of slice %s", self.current_user.username, action, slice_id)

    def _client(self, socket: Path | None) -> ControlClient | None:
        link = self.extension.link(socket) if socket is not None else None
        return link.client if link is not None else None


class HostTimelineHandler(_HostHandler):
    """Who was on the GPU when."""

    auth_resource = HOST

    @web.authenticated
    @authorized(resource=HOST, message=NO_RIGHT)
    async def get(self) -> None:
        """Samples of everybody's slices over the last minutes."""
        self.check_right()
        view = self.extension.view
        wanted: list[tuple[ControlClient, Json]] = []
        for s in view.all_slices():
            socket = view.socket_of(s["slice_id"])
            link = self.extension.link(socket) if socket is not None else None
            if link is not None and link.client is not None:
                wanted.append((link.client, s))
        self.finish(await on_thread(lambda: _timeline(wanted)))


def _timeline(wanted: list[tuple[ControlClient, Json]]) -> Json:
    slices = []
    now_s = 0.0
    for client, s in wanted:
        now_s, samples = client.timeline(s["slice_id"])
        slices.append(
            {
                "slice_id": s["slice_id"],
                "name": s["name"],
                "owner": s["owner"],
                "samples": slice_samples(samples, now_s),
            }
        )
    return {"now_s": now_s, "slices": slices}


class OpenApiHandler(Handler):
    """The document of this interface."""

    auth_resource = OWN

    @web.authenticated
    @authorized(resource=OWN)
    async def get(self) -> None:
        """OpenAPI 3.1."""
        from jupyter_tfusion.openapi import document

        self.finish(document(str(self.settings["base_url"])))


Handlers = list[tuple[str, type[Handler], dict[str, Any]]]
