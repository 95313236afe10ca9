"""Synchronous client of the control API, for the command line and for jupyter_tfusion.

``connect()`` finds the daemon, or starts an embedded one where none is configured; ``ControlClient`` asks it;
``SliceLease`` holds a slice for as long as it is open. Every error is a TFusionError whose text is for the learner.
"""

from __future__ import annotations

import contextlib
import enum
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

import grpc

from gpu_server.admin_token import read_admin_token
from gpu_server.answers import (
    Ending,
    EndingKind,
    Gpu,
    OpenedSlice,
    Session,
    Slice,
    StateChange,
    StoryEntry,
)
from gpu_server.embedded import start_embedded
from gpu_server.errors import (
    InvalidRequest,
    NoCapacity,
    NotNow,
    ServerUnreachable,
    SliceNotFound,
    TFusionError,
    WrongToken,
)
from gpu_server.events import Event, EventKind
from gpu_server.proto import control_pb2 as pb
from gpu_server.proto import control_pb2_grpc
from gpu_server.runtime_folder import CONTROL_SOCKET, check_private, default_folder, is_alive
from gpu_server.timeline import TimelineSample

__all__ = [
    "ControlClient",
    "Ending",
    "EndingKind",
    "Event",
    "EventKind",
    "Gpu",
    "InvalidRequest",
    "LeaseState",
    "NoCapacity",
    "NotNow",
    "OpenedSlice",
    "ServerUnreachable",
    "Session",
    "Slice",
    "SliceLease",
    "SliceNotFound",
    "StateChange",
    "StoryEntry",
    "Stream",
    "TFusionError",
    "TimelineSample",
    "WrongToken",
    "connect",
    "default_socket",
    "is_alive",
    "read_admin_token",
]

DEADLINE_S = 5.0
CLOSE_DEADLINE_S = 10.0  # the daemon gives workers a second to end
SERVER_VARIABLE = "TFUSION_SERVER"


_ERRORS: dict[grpc.StatusCode, type[TFusionError]] = {
    grpc.StatusCode.RESOURCE_EXHAUSTED: NoCapacity,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.NOT_FOUND: SliceNotFound,
    grpc.StatusCode.PERMISSION_DENIED: WrongToken,
    grpc.StatusCode.FAILED_PRECONDITION: NotNow,
}

T = TypeVar("T")


class ControlClient:
    """One connection to a daemon. Thread-safe. Every method raises TFusionError or one of its types."""

    def __init__(self, socket: Path) -> None:
        self.socket = Path(os.path.abspath(socket))
        # A channel of its own: closing one client must not end the streams of another to the same socket. A proxy
        # set in the environment has no business with a Unix socket.
        self._channel = grpc.insecure_channel(
            f"unix:{self.socket}",
            options=[
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.enable_http_proxy", 0),
                ("grpc.initial_reconnect_backoff_ms", 100),
            ],
        )
        self._stub: Any = control_pb2_grpc.ControlStub(self._channel)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Ends the connection, and with it running watches. Slices stay open."""
        self._channel.close()

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open_slice(
        self,
        name: str,
        *,
        vram_bytes: int = 0,
        share: float = 0.0,
        owner: str = "",
        kernel_id: str = "",
        ceiling: float = 0.0,
    ) -> OpenedSlice:
        """Opens a slice; 0 means the daemon's default. Raises NoCapacity, InvalidRequest, ServerUnreachable.

        Whoever opens it renews it more often than every ``time_to_live_s``: see SliceLease.
        """
        if not 0 <= vram_bytes < 1 << 64:
            raise InvalidRequest(
                f"{vram_bytes} bytes of GPU memory cannot be asked for. Ask for a size such as 4GiB."
            )
        reply = self._call(
            self._stub.OpenSlice,
            pb.OpenSliceRequest(
                name=name,
                vram_bytes=vram_bytes,
                share=share,
                owner=owner,
                kernel_id=kernel_id,
                ceiling=ceiling,
            ),
        )
        return OpenedSlice(
            reply.slice_id,
            reply.token,
            reply.session_socket,
            reply.vram_bytes,
            reply.time_to_live_s,
            _gpu(reply.gpu),
        )

    def renew_slice(self, slice_id: str, token: str) -> float:
        """Heartbeat; the time to live from now in seconds. Raises SliceNotFound, WrongToken, ServerUnreachable."""
        reply = self._call(self._stub.RenewSlice, pb.SliceCredential(slice_id=slice_id, token=token))
        return float(reply.time_to_live_s)

    def close_slice(self, slice_id: str, token: str) -> None:
        """Ends the slice; returns when its sessions are gone. Raises SliceNotFound, WrongToken, ServerUnreachable."""
        self._call(
            self._stub.CloseSlice, pb.SliceCredential(slice_id=slice_id, token=token), CLOSE_DEADLINE_S
        )

    def swap_out_slice(self, slice_id: str, token: str) -> None:
        """Its memory leaves the GPU when its work there is over. Raises NotNow, SliceNotFound, WrongToken and
        ServerUnreachable, as all that follow but for NotNow. ``token`` is the slice's own or the admin token."""
        self._call(self._stub.SwapOutSlice, pb.SliceCredential(slice_id=slice_id, token=token))

    def resume_slice(self, slice_id: str, token: str) -> None:
        """Asks for its memory to be on the GPU before there is work for it."""
        self._call(self._stub.ResumeSlice, pb.SliceCredential(slice_id=slice_id, token=token))

    def reset_slice(self, slice_id: str, token: str) -> None:
        """Ends its sessions and returns when they are gone; the slice stays open."""
        self._call(
            self._stub.ResetSlice, pb.SliceCredential(slice_id=slice_id, token=token), CLOSE_DEADLINE_S
        )

    def list_gpus(self) -> list[Gpu]:
        """The daemon's GPUs."""
        return [_gpu(gpu) for gpu in self._call(self._stub.ListGpus, pb.ListGpusRequest()).gpus]

    def list_slices(self) -> list[Slice]:
        """The open slices, oldest first."""
        return [
            _same_fields(Slice, s) for s in self._call(self._stub.ListSlices, pb.ListSlicesRequest()).slices
        ]

    def list_sessions(self, slice_id: str = "") -> list[Session]:
        """The sessions of one slice, or of all."""
        reply = self._call(self._stub.ListSessions, pb.ListSessionsRequest(slice_id=slice_id))
        return [_same_fields(Session, s) for s in reply.sessions]

    def story(self, slice_id: str) -> list[StoryEntry]:
        """What was decided about a slice's turns and memory, and why, oldest first."""
        reply = self._call(self._stub.GetStory, pb.GetStoryRequest(slice_id=slice_id))
        return [_same_fields(StoryEntry, entry) for entry in reply.entries]

    def timeline(self, slice_id: str) -> tuple[float, list[TimelineSample]]:
        """What an open slice's sessions did when, and the daemon's clock now in seconds."""
        reply = self._call(self._stub.GetTimeline, pb.GetTimelineRequest(slice_id=slice_id))
        return reply.now_s, [_same_fields(TimelineSample, sample) for sample in reply.samples]

    def watch_events(self, replay: bool = False) -> Stream[Event]:
        """Events as they happen, from the moment this returns; with ``replay`` first those still remembered."""
        return self._watch(self._stub.WatchEvents(pb.WatchEventsRequest(replay=replay)), _event)

    def watch_state(self) -> Stream[StateChange]:
        """How GPUs and slices are, and what changes from then on."""
        return self._watch(self._stub.WatchState(pb.WatchStateRequest()), _change)

    def _watch(self, call: Any, read: Callable[[Any], T]) -> Stream[T]:
        timer = threading.Timer(DEADLINE_S, call.cancel)
        timer.start()
        try:
            call.initial_metadata()
            if not call.is_active():
                raise call
        except grpc.RpcError as error:
            raise self._error(error) from None
        finally:
            timer.cancel()
        return Stream(call, read, self._error)

    def _call(self, method: Callable[..., Any], request: object, deadline_s: float = DEADLINE_S) -> Any:
        try:
            return method(request, timeout=deadline_s)
        except grpc.RpcError as error:
            raise self._error(error) from None
        except ValueError:  # what gRPC raises on a channel that was closed
            raise ServerUnreachable("The connection to the GPU server was closed.") from None

    def _error(self, error: grpc.RpcError) -> TFusionError:
        code: grpc.StatusCode = error.code()
        details: str = error.details() or ""
        if code in _ERRORS:
            return _ERRORS[code](details)
        if code == grpc.StatusCode.UNAVAILABLE and details.startswith("The GPU server"):
            return NoCapacity(details) if "no GPU" in details else ServerUnreachable(details)
        if code in (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.DEADLINE_EXCEEDED,
            grpc.StatusCode.CANCELLED,
        ):
            return _unreachable(self.socket)
        return TFusionError(
            f"The GPU server at {self.socket} failed: {details or code.name}. Look into its log."
        )


class Stream(Generic[T]):
    """A running watch: iterate over it; close() it from any thread to end the iteration."""

    def __init__(
        self, call: Any, read: Callable[[Any], T], as_error: Callable[[grpc.RpcError], TFusionError]
    ) -> None:
        self._call = call
        self._read = read
        self._as_error = as_error
        self._closed = False

    def __iter__(self) -> Iterator[T]:
        """Ends when the daemon stops or close() is called; raises TFusionError when the connection breaks."""
        try:
            for message in self._call:
                yield self._read(message)
        except grpc.RpcError as error:
            if not self._closed:
                raise self._as_error(error) from None

    def close(self) -> None:
        """Ends the watch."""
        self._closed = True
        self._call.cancel()

    def __enter__(self) -> Stream[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class LeaseState(enum.Enum):
    """Where a lease stands. LOST: the daemon no longer knows the slice; its processes have lost their GPU."""

    OPEN = "open"
    CLOSED = "closed"
    LOST = "lost"


class SliceLease:
    """Holds an open slice: renews it from a thread at a third of its time to live, and closes it at the end.

    Thread-safe; close() may be called any number of times. ``on_lost`` is called once, on the heartbeat's thread,
    with the error when the slice is gone although nobody closed it; a daemon that does not answer for a while is
    asked again until the slice must have expired.
    """

    def __init__(
        self,
        client: ControlClient,
        opened: OpenedSlice,
        on_lost: Callable[[TFusionError], None] | None = None,
    ) -> None:
        self.client = client
        self.opened = opened
        self._on_lost = on_lost
        self._state = LeaseState.OPEN
        self._lock = threading.Lock()  # guards _state
        self._wake = threading.Event()
        self._heartbeat = threading.Thread(target=self._beat, name="tfusion-heartbeat", daemon=True)
        self._heartbeat.start()

    @classmethod
    def open(
        cls,
        client: ControlClient,
        name: str,
        *,
        vram_bytes: int = 0,
        share: float = 0.0,
        owner: str = "",
        kernel_id: str = "",
        ceiling: float = 0.0,
        on_lost: Callable[[TFusionError], None] | None = None,
    ) -> SliceLease:
        """Opens a slice and holds it; raises as ControlClient.open_slice()."""
        opened = client.open_slice(
            name,
            vram_bytes=vram_bytes,
            share=share,
            owner=owner,
            kernel_id=kernel_id,
            ceiling=ceiling,
        )
        return cls(client, opened, on_lost)

    @property
    def state(self) -> LeaseState:
        """OPEN until closed or lost."""
        return self._state

    def close(self) -> None:
        """Ends the slice. An unreachable daemon is no error here: the slice expires by itself."""
        with self._lock:
            if self._state is not LeaseState.OPEN:
                return
            self._state = LeaseState.CLOSED
        self._wake.set()
        if threading.current_thread() is not self._heartbeat:
            self._heartbeat.join()
        with contextlib.suppress(SliceNotFound, ServerUnreachable):
            self.client.close_slice(self.opened.slice_id, self.opened.token)

    def __enter__(self) -> SliceLease:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _beat(self) -> None:
        time_to_live_s = self.opened.time_to_live_s
        unanswered_s = 0.0
        pause_s = time_to_live_s / 3
        while not self._wake.wait(pause_s):
            try:
                time_to_live_s = self.client.renew_slice(self.opened.slice_id, self.opened.token)
                unanswered_s = 0.0
            except ServerUnreachable as error:
                unanswered_s += pause_s
                if unanswered_s >= 2 * time_to_live_s:
                    self._lose(error)
                    return
            except TFusionError as error:
                self._lose(error)
                return
            pause_s = time_to_live_s / 3

    def _lose(self, error: TFusionError) -> None:
        with self._lock:
            if self._state is not LeaseState.OPEN:
                return
            self._state = LeaseState.LOST
        if self._on_lost is not None:
            self._on_lost(error)


def connect(socket: Path | None = None, *, start: bool = True) -> ControlClient:
    """A client of the daemon that is meant.

    ``socket``, or ``$TFUSION_SERVER``, names a configured daemon: it is never started from here, and when it does not
    answer ServerUnreachable is raised at once. Without either, the daemon at the default socket is used, and an
    embedded one is started if none runs there, unless ``start`` is false; ServerUnreachable then says why it could not
    start, or that there is none.
    """
    named = socket or _configured_socket()
    if named is not None:
        return _checked(ControlClient(named))
    path = default_folder() / CONTROL_SOCKET
    if path.parent.is_symlink() or path.parent.exists():
        check_private(path.parent)  # another user's daemon must not get our work
    if is_alive(path):
        with contextlib.suppress(ServerUnreachable):  # it may just have been ending
            return _checked(ControlClient(path))
    if not start:
        raise ServerUnreachable(
            "No GPU server is running yet. It starts by itself with the first vGPU kernel."
        )
    start_embedded(path)
    return _checked(ControlClient(path))


def default_socket() -> Path:
    """Where connect() without a socket looks for a daemon."""
    return _configured_socket() or default_folder() / CONTROL_SOCKET


def _configured_socket() -> Path | None:
    return Path(os.environ[SERVER_VARIABLE]) if os.environ.get(SERVER_VARIABLE) else None


def _checked(client: ControlClient) -> ControlClient:
    if not is_alive(client.socket):  # says so at once, where gRPC would try again until the deadline
        client.close()
        raise _unreachable(client.socket)
    try:
        client.list_gpus()
    except BaseException:
        client.close()
        raise
    return client


def _unreachable(socket: Path) -> ServerUnreachable:
    return ServerUnreachable(
        f"The GPU server at {socket} does not answer. Check that 'tfusion serve' runs there ('tfusion doctor' says "
        "what is wrong)."
    )


def _gpu(gpu: pb.Gpu) -> Gpu:
    return _same_fields(Gpu, gpu)


def _event(event: pb.Event) -> Event:
    return Event(
        event.sequence,
        event.unix_time_s,
        EventKind(event.kind),
        event.slice_id,
        event.session_id,
        event.detail,
    )


_ENDING_KINDS = {kind.value for kind in EndingKind}


def _change(change: pb.StateChange) -> StateChange:
    return StateChange(
        full=change.full,
        gpus=[_gpu(gpu) for gpu in change.gpus],
        slices=[_same_fields(Slice, s) for s in change.slices],
        gone=list(change.gone),
        endings=[
            Ending(EndingKind(e.kind), e.slice_id, e.kernel_id, e.sentence)
            for e in change.endings
            if e.kind in _ENDING_KINDS  # a newer server may know more
        ],
    )


def _same_fields(kind: type[T], message: Any) -> T:
    return kind(**{name: getattr(message, name) for name in kind.__dataclass_fields__})  # type: ignore[attr-defined]
