"""Answers the control API (gpu_server/proto/control.proto) from a GpuServer.

Each error type becomes one gRPC status whose message is the sentence for the learner; gpu_server/client.py turns it
back into the same type.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import grpc
import grpc.aio

from gpu_server.errors import InvalidRequest, NoCapacity, NotNow, SliceNotFound, TFusionError, WrongToken
from gpu_server.events import WatcherTooSlow
from gpu_server.proto import control_pb2 as pb
from gpu_server.server import GpuServer
from gpu_server.state import gpu_states, slice_states
from gpu_server.turns import NS_PER_S

log = logging.getLogger("tfusion.control")

_STATUS: dict[type[TFusionError], grpc.StatusCode] = {
    NoCapacity: grpc.StatusCode.RESOURCE_EXHAUSTED,
    InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    SliceNotFound: grpc.StatusCode.NOT_FOUND,
    WrongToken: grpc.StatusCode.PERMISSION_DENIED,
    NotNow: grpc.StatusCode.FAILED_PRECONDITION,
}

Context = grpc.aio.ServicerContext[Any, Any]


class ControlService:
    """The servicer; its methods are those of the service Control."""

    def __init__(self, server: GpuServer) -> None:
        self._server = server
        self.last_request_at = server.clock()

    async def OpenSlice(self, request: pb.OpenSliceRequest, context: Context) -> pb.OpenSliceReply:
        """See control.proto."""
        self._note_request()
        if self._server.stopping:
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, "The GPU server is stopping. Try again in a moment."
            )
        if not self._server.inventory.gpus():
            await context.abort(grpc.StatusCode.UNAVAILABLE, "The GPU server has no GPU.")
        try:
            opened, token = self._server.open_slice(
                request.name,
                request.vram_bytes,
                request.share,
                request.owner,
                request.kernel_id,
                request.ceiling,
            )
        except TFusionError as error:
            await _refuse(context, error)
        except OSError as error:
            log.error("a slice could not be opened: %s", error)
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"The GPU server cannot open a slice: {error.strerror}. Close another vGPU kernel, or raise its "
                "limit of open files.",
            )
        return pb.OpenSliceReply(
            slice_id=opened.slice_id,
            token=token,
            session_socket=str(self._server.session_socket),
            vram_bytes=opened.vram_bytes,
            time_to_live_s=self._server.config.slice_ttl_s,
            gpu=next(gpu for gpu in await gpu_states(self._server) if gpu.uuid == opened.gpu_uuid),
        )

    async def RenewSlice(self, request: pb.SliceCredential, context: Context) -> pb.RenewSliceReply:
        """See control.proto."""
        self._note_request()
        try:
            return pb.RenewSliceReply(
                time_to_live_s=self._server.renew_slice(request.slice_id, request.token)
            )
        except TFusionError as error:
            await _refuse(context, error)

    async def CloseSlice(self, request: pb.SliceCredential, context: Context) -> pb.CloseSliceReply:
        """See control.proto. Answers when the slice's sessions are gone."""
        self._note_request()
        try:
            await self._server.close_slice(request.slice_id, request.token)
        except TFusionError as error:
            await _refuse(context, error)
        return pb.CloseSliceReply()

    async def SwapOutSlice(self, request: pb.SliceCredential, context: Context) -> pb.SwapOutSliceReply:
        """See control.proto."""
        self._note_request()
        try:
            self._server.swap_out_slice(request.slice_id, request.token)
        except TFusionError as error:
            await _refuse(context, error)
        return pb.SwapOutSliceReply()

    async def ResumeSlice(self, request: pb.SliceCredential, context: Context) -> pb.ResumeSliceReply:
        """See control.proto."""
        self._note_request()
        try:
            self._server.resume_slice(request.slice_id, request.token)
        except TFusionError as error:
            await _refuse(context, error)
        return pb.ResumeSliceReply()

    async def ResetSlice(self, request: pb.SliceCredential, context: Context) -> pb.ResetSliceReply:
        """See control.proto. Answers when the sessions are gone."""
        self._note_request()
        try:
            await self._server.reset_slice(request.slice_id, request.token)
        except TFusionError as error:
            await _refuse(context, error)
        return pb.ResetSliceReply()

    async def ListGpus(self, request: pb.ListGpusRequest, context: Context) -> pb.ListGpusReply:
        """See control.proto."""
        self._note_request()
        return pb.ListGpusReply(gpus=await gpu_states(self._server))

    async def ListSlices(self, request: pb.ListSlicesRequest, context: Context) -> pb.ListSlicesReply:
        """See control.proto."""
        self._note_request()
        return pb.ListSlicesReply(slices=slice_states(self._server))

    async def ListSessions(self, request: pb.ListSessionsRequest, context: Context) -> pb.ListSessionsReply:
        """See control.proto."""
        self._note_request()
        now = self._server.clock()
        turns = self._server.turns
        states = {
            state.session_id: state
            for gpu in self._server.inventory.gpus()
            for state in turns.states(gpu.uuid)
        }
        return pb.ListSessionsReply(
            sessions=[
                pb.Session(
                    session_id=s.session_id,
                    slice_id=s.slice_id,
                    client_pid=s.client_pid,
                    client_name=s.client_name,
                    worker_pid=s.worker.pid,
                    used_bytes=self._server.sessions.session_used_bytes(s),
                    calls=self._server.sessions.session_calls(s),
                    age_s=now - s.started_at,
                    resident_bytes=s.turn.resident_bytes,
                    swapped_bytes=s.turn.swapped_bytes,
                    spilled_bytes=s.turn.spilled_bytes,
                    phase=states[s.session_id].phase.value,
                    place=states[s.session_id].place or 0,
                    gpu_s=states[s.session_id].gpu_ns / NS_PER_S,
                    waited_s=s.turn.waited_ns / NS_PER_S,
                )
                for s in self._server.sessions.sessions(request.slice_id)
            ]
        )

    async def GetStory(self, request: pb.GetStoryRequest, context: Context) -> pb.GetStoryReply:
        """See control.proto."""
        self._note_request()
        now_ns = time.monotonic_ns()
        return pb.GetStoryReply(
            entries=[
                pb.StoryEntry(
                    age_s=(now_ns - entry.at_ns) / NS_PER_S,
                    session_id=entry.session_id,
                    sentence=entry.text,
                )
                for entry in self._server.turns.story(request.slice_id)
            ]
        )

    async def GetTimeline(self, request: pb.GetTimelineRequest, context: Context) -> pb.GetTimelineReply:
        """See control.proto."""
        self._note_request()
        return pb.GetTimelineReply(
            now_s=time.monotonic(),
            samples=[
                pb.TimelineSample(**dataclasses.asdict(sample))
                for sample in self._server.turns.timeline(request.slice_id)
            ],
        )

    async def WatchEvents(self, request: pb.WatchEventsRequest, context: Context) -> AsyncIterator[pb.Event]:
        """See control.proto."""
        self._note_request()
        try:
            with self._server.events.watch(request.replay) as events:
                # The headers tell the watcher that it misses nothing from here on; left alone they would come with
                # the first event, which may be long in coming.
                await context.send_initial_metadata(())
                async for event in events:
                    yield pb.Event(
                        sequence=event.sequence,
                        unix_time_s=event.unix_time_s,
                        kind=pb.Event.Kind.Name(int(event.kind)),
                        slice_id=event.slice_id,
                        session_id=event.session_id,
                        detail=event.detail,
                    )
        except WatcherTooSlow:
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "The events came faster than they were read. Watch again."
            )
        finally:
            self._note_request()

    async def WatchState(
        self, request: pb.WatchStateRequest, context: Context
    ) -> AsyncIterator[pb.StateChange]:
        """See control.proto."""
        with self._server.state.watch() as changes:
            await context.send_initial_metadata(())  # as for events
            try:
                async for change in changes:
                    yield change
            except TFusionError as error:
                await _refuse(context, error)

    def _note_request(self) -> None:
        self.last_request_at = self._server.clock()


async def _refuse(context: Context, error: TFusionError) -> NoReturn:
    await context.abort(_STATUS.get(type(error), grpc.StatusCode.INTERNAL), str(error))
    raise AssertionError("unreachable: abort() raises")
