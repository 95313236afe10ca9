"""Sessions: the client processes under each slice, each with its worker, from the accepted Hello to the last event.

A session is admitted (token, slot, worker), handed to its worker together with the client's connection, and over when
the worker's process is gone; only then its slot and its account word are free again. end_slice() returns when no
session of the slice is left, so a slice's memory is not promised to the next one before it is really free.

observe() tells a process of a slice how that slice is doing; nothing is kept of the process that asked.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gpu_server.account import Account
from gpu_server.errors import SliceFull, WorkerFailed, WrongToken
from gpu_server.events import EventKind, EventLog
from gpu_server.gpus import Inventory
from gpu_server.handshake import Hello, Welcome, WelcomeStatus
from gpu_server.observation import SIZE_BYTES, Observation, ObservedSession
from gpu_server.peer import peer_of
from gpu_server.slices import Slice, SliceRegistry
from gpu_server.turn import Turn
from gpu_server.turns import Turns
from gpu_server.utilization import Utilization
from gpu_server.worker_pool import WorkerPool
from gpu_server.workers import WorkerExit, WorkerProcess

log = logging.getLogger("tfusion.session")

_SLICE_GONE = "This slice was closed or has expired. Restart the kernel to get a new one."

_ENDINGS = {
    "closed": "The process ended its session.",
    "client_gone": "The process is gone.",
    "protocol_error": "The process sent a command that cannot be",
    "device_error": "The GPU reported an error",
    "kernel_limit": "A kernel ran for too long",
    "stopped": "The session was stopped",
    "worker_error": "The worker failed",
}


_ORDINARY = (_ENDINGS["closed"], _ENDINGS["client_gone"])


@dataclass(eq=False)
class Session:
    """One client process and its worker. ``started_at`` is the manager's clock in seconds.

    ``client_pid`` is the process id in our namespace, ``client_own_pid`` the one that the process itself sees.
    """

    session_id: str
    slice_id: str
    slot: int
    client_pid: int
    client_own_pid: int
    client_name: str
    worker: WorkerProcess
    turn: Turn
    started_at: float
    pidfd: int = -1
    stop_reason: str = ""
    over: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


@dataclass(frozen=True)
class BadEnd:
    """How a session ended that its program did not end. ``at`` is the manager's clock in seconds."""

    sentence: str
    at: float


@dataclass(eq=False)
class _SliceSessions:
    account: Account
    ending: asyncio.Future[str]  # its result is the reason
    sessions: dict[str, Session] = field(default_factory=dict)
    bad_end: BadEnd | None = None  # of the last session; None once another one has begun
    admitting: int = 0
    quiet: asyncio.Event = field(default_factory=asyncio.Event)

    def check_quiet(self) -> None:
        if not self.sessions and not self.admitting:
            self.quiet.set()
        else:
            self.quiet.clear()


class SessionManager:
    """All sessions of the daemon. For one event loop."""

    def __init__(
        self,
        registry: SliceRegistry,
        pools: Mapping[str, WorkerPool],
        events: EventLog,
        inventory: Inventory,
        turns: Turns,
        *,
        spill_folder: str,
        stop_grace_s: float,
        clock: Callable[[], float],
        on_bad_end: Callable[[str, str], None] = lambda slice_id, sentence: None,
    ) -> None:
        self._registry = registry
        self._pools = pools
        self._events = events
        self._inventory = inventory
        self._turns = turns
        self._spill_folder = spill_folder
        self._utilization = Utilization()
        self._stop_grace_s = stop_grace_s
        self._clock = clock
        self._on_bad_end = on_bad_end
        self._slices: dict[str, _SliceSessions] = {}
        self._endings: set[asyncio.Task[None]] = set()
        self.refused = 0  # processes that got no session

    # -- slices

    def begin_slice(self, opened: Slice) -> None:
        """Makes the account of a slice that was just opened; raises OSError when the process is out of descriptors."""
        self._slices[opened.slice_id] = _SliceSessions(
            Account(opened.vram_bytes), asyncio.get_running_loop().create_future()
        )
        self._slices[opened.slice_id].check_quiet()

    async def end_slice(self, slice_id: str, reason: str) -> None:
        """Stops the slice's sessions, waits until they are gone, and frees its account. May be called once."""
        state = self._slices[slice_id]
        state.ending.set_result(reason)
        for session in list(state.sessions.values()):
            self._stop(session, reason)
        await state.quiet.wait()
        state.account.close()
        del self._slices[slice_id]

    async def reset_slice(self, slice_id: str, reason: str) -> None:
        """Stops the sessions that the slice has now, and waits until they are gone. It goes on serving new ones."""
        stopped = self.sessions(slice_id)
        for session in stopped:
            self._stop(session, reason)
        if stopped:
            await asyncio.wait([session.over for session in stopped])

    def bad_end(self, slice_id: str) -> BadEnd | None:
        """How the slice's last session ended, if its program did not end it and none has begun since."""
        state = self._slices.get(slice_id)
        return state.bad_end if state else None

    def used_bytes(self, slice_id: str) -> int:
        """What the slice's sessions hold of GPU memory."""
        state = self._slices.get(slice_id)
        return state.account.used_bytes() if state else 0

    # -- sessions

    def sessions(self, slice_id: str = "") -> list[Session]:
        """The sessions of one slice, or of all; oldest first."""
        return [
            session
            for sid, state in self._slices.items()
            if not slice_id or sid == slice_id
            for session in state.sessions.values()
        ]

    def session_calls(self, session: Session) -> int:
        """How many CUDA calls it has sent to its worker."""
        return self._slices[session.slice_id].account.calls(session.slot)

    def session_used_bytes(self, session: Session) -> int:
        """What one session holds of GPU memory."""
        return self._slices[session.slice_id].account.used_bytes(session.slot)

    async def admit(self, hello: Hello, connection: socket.socket) -> Welcome | None:
        """Gives the client's connection to a worker; the answer is then the worker's, and None is returned.

        Otherwise returns the refusal to send. The connection stays the caller's to close in both cases.
        """
        try:
            owner = self._registry.authorize(hello.slice_id, hello.token)
            slot = self._registry.take_slot(owner.slice_id)
        except WrongToken as error:
            return self._refuse(WelcomeStatus.WRONG_TOKEN, str(error), "", hello)
        except SliceFull as error:
            return self._refuse(WelcomeStatus.SLICE_FULL, str(error), hello.slice_id, hello)
        state = self._slices[owner.slice_id]
        state.admitting += 1
        state.check_quiet()
        session = None
        try:
            worker = await self._worker_for(owner, state)
            session = self._hand_over(owner, state, slot, worker, hello, connection)
            return None
        except _Refused as refusal:
            return self._refuse(refusal.status, str(refusal), owner.slice_id, hello)
        finally:
            state.admitting -= 1
            if session is None:
                self._registry.release_slot(owner.slice_id, slot)
            state.check_quiet()

    def observe(self, hello: Hello, connection: socket.socket) -> bytes:
        """The answer to an observer: a Welcome, and if it accepts, an Observation of the slice it has the token of.

        A refusal is no event: a monitor may go on asking for a slice that is gone. A mark is the slice's own: another
        one changes nothing for whoever set the last MARKS ones.
        """
        try:
            owner = self._registry.authorize(hello.slice_id, hello.token)
        except WrongToken as error:
            return Welcome(WelcomeStatus.WRONG_TOKEN, str(error)).pack()
        account = self._slices[owner.slice_id].account
        if hello.marks:
            account.set_mark()
        self._turns.look_again(owner.gpu_uuid)
        states = {state.session_id: state for state in self._turns.states(owner.gpu_uuid)}
        inner = peer_of(connection).in_inner_namespace
        rows = []
        for session in self.sessions(owner.slice_id):
            sample = self._utilization.sample(session.session_id)
            state = states[session.session_id]
            rows.append(
                ObservedSession(
                    session.client_own_pid if inner else session.client_pid,
                    sample.percent,
                    account.used_bytes(session.slot),
                    sample.unix_us,
                    session.client_name,
                    session.turn.resident_bytes,
                    session.turn.swapped_bytes,
                    state.gpu_ns,
                    session.turn.waited_ns,
                    state.phase.value,
                    state.place or 0,
                    account.is_busy(session.slot),
                )
            )
        use = self._turns.use_of(owner.slice_id)
        gpu = self._inventory.gpu(owner.gpu_uuid)
        observation = Observation(
            gpu.name,
            gpu.driver_version,
            owner.vram_bytes,
            account.used_bytes(),
            self._inventory.facts(gpu.uuid),
            rows,
            owner.name,
            int((self._clock() - owner.opened_at) * 1e9),
            use.gpu_ns,
            use.waited_ns,
            use.swaps.out_bytes,
            use.swaps.in_bytes,
            account.mark,
            account.peaks(),
        )
        return Welcome(WelcomeStatus.ACCEPTED, shared_bytes=SIZE_BYTES).pack() + observation.pack()

    # -- inside

    async def _worker_for(self, owner: Slice, state: _SliceSessions) -> WorkerProcess:
        """A worker, unless the slice ends while we wait; raises _Refused."""
        pool = self._pools[owner.gpu_uuid]
        taking = asyncio.ensure_future(pool.take())
        try:
            both: tuple[asyncio.Future[WorkerProcess], asyncio.Future[str]] = (taking, state.ending)
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await _discard(taking, pool)
            raise
        if state.ending.done():
            await _discard(taking, pool)
            stopping = state.ending.result() == STOPPING
            raise _Refused(
                WelcomeStatus.STOPPING if stopping else WelcomeStatus.WRONG_TOKEN,
                "The GPU server is stopping. Restart the kernel when it runs again."
                if stopping
                else _SLICE_GONE,
            )
        try:
            return taking.result()
        except WorkerFailed as error:
            raise _Refused(WelcomeStatus.WORKER_FAILED, str(error)) from None

    def _hand_over(
        self,
        owner: Slice,
        state: _SliceSessions,
        slot: int,
        worker: WorkerProcess,
        hello: Hello,
        connection: socket.socket,
    ) -> Session:
        if _hung_up(connection):
            self._pools[owner.gpu_uuid].give_back(worker)
            raise _Refused(WelcomeStatus.BAD_HELLO, "The process hung up before it got its session.")
        session_id = secrets.token_hex(8)
        try:
            turn = self._turns.begin(session_id, owner, state.account, slot)
        except OSError as error:
            self._pools[owner.gpu_uuid].give_back(worker)
            raise _Refused(
                WelcomeStatus.WORKER_FAILED,
                f"The GPU server cannot begin a session: {error.strerror}. Close another vGPU kernel, or raise its "
                "limit of open files.",
            ) from None
        peer = peer_of(connection)
        pidfd = peer.open_pidfd(connection)
        session = Session(
            session_id=session_id,
            slice_id=owner.slice_id,
            slot=slot,
            client_pid=peer.pid or hello.pid,
            client_own_pid=peer.own_pid or hello.pid,
            client_name=hello.process_name,
            worker=worker,
            turn=turn,
            started_at=self._clock(),
            pidfd=pidfd,
        )
        worker.on_message = lambda message: self._worker_says(session, message)
        try:
            worker.give_session(
                {
                    "vram_limit_bytes": owner.vram_bytes,
                    "account_slot": slot,
                    "spill_folder": self._spill_folder,
                    "piece_bytes": self._turns.piece_bytes(owner.gpu_uuid),
                },
                [connection.fileno(), state.account.fd, *turn.fds],
            )
        except OSError:
            worker.kill()
            self._turns.end(session_id)
            if pidfd >= 0:
                os.close(pidfd)
            raise _Refused(
                WelcomeStatus.WORKER_FAILED, "The worker died before it could take the session. Try again."
            ) from None
        if pidfd >= 0:
            asyncio.get_running_loop().add_reader(pidfd, self._client_gone, session)
        state.sessions[session.session_id] = session
        state.bad_end = None
        self._utilization.begin(session.session_id, functools.partial(state.account.busy_ns, slot))
        task = asyncio.create_task(self._wait_for_end(session, state))
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)
        return session

    def _worker_says(self, session: Session, message: dict[str, Any]) -> None:
        if message["type"] == "started":
            self._events.add(
                EventKind.SESSION_STARTED,
                f"{_client(session.client_name, session.client_pid)} started using the GPU.",
                session.slice_id,
                session.session_id,
            )

    def _client_gone(self, session: Session) -> None:
        # The worker sees the connection's end by itself, except when a forked child still holds it open.
        self._unwatch(session)
        self._stop(session, "client_gone")

    def _unwatch(self, session: Session) -> None:
        if session.pidfd >= 0:
            asyncio.get_running_loop().remove_reader(session.pidfd)
            os.close(session.pidfd)
            session.pidfd = -1

    def _stop(self, session: Session, reason: str) -> None:
        session.stop_reason = session.stop_reason or reason
        session.worker.stop(reason, self._stop_grace_s)

    async def _wait_for_end(self, session: Session, state: _SliceSessions) -> None:
        ending = await asyncio.shield(session.worker.exited)
        self._unwatch(session)
        self._utilization.end(session.session_id)
        self._turns.end(session.session_id)
        state.account.clear(session.slot)
        self._registry.release_slot(session.slice_id, session.slot)
        del state.sessions[session.session_id]
        sentence = _end_sentence(session, ending)
        ordinary = sentence in _ORDINARY or session.stop_reason == "client_gone"
        if not ordinary and not state.ending.done():
            why = session.stop_reason or sentence
            if not state.sessions:
                state.bad_end = BadEnd(why, self._clock())
            self._on_bad_end(session.slice_id, why)
        self._events.add(EventKind.SESSION_ENDED, sentence, session.slice_id, session.session_id)
        session.over.set_result(None)
        state.check_quiet()

    def _refuse(self, status: WelcomeStatus, sentence: str, slice_id: str, hello: Hello) -> Welcome:
        self.refused += 1
        self._events.add(
            EventKind.SESSION_REFUSED,
            f"{_client(hello.process_name, hello.pid)} was refused: {sentence}",
            slice_id,
        )
        return Welcome(status, sentence)


STOPPING = "The GPU server is stopping."


class _Refused(Exception):
    def __init__(self, status: WelcomeStatus, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


async def _discard(taking: asyncio.Future[WorkerProcess], pool: WorkerPool) -> None:
    """Gives up on a worker that is being taken; it goes back to the pool if it came in the same moment."""
    taking.cancel()
    await asyncio.wait([taking])
    if not taking.cancelled() and taking.exception() is None:
        pool.give_back(taking.result())


def _hung_up(connection: socket.socket) -> bool:
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _client(name: str, pid: int) -> str:
    return f"Process {pid} ({name})" if name else f"Process {pid}"


def _end_sentence(session: Session, ending: WorkerExit) -> str:
    if ending.ended is not None:
        reason, detail = str(ending.ended.get("reason", "")), str(ending.ended.get("detail", ""))
        if reason == "stopped" and session.stop_reason == "client_gone":
            reason = "client_gone"
        sentence = _ENDINGS.get(reason, f"The session ended ({reason})")
        if sentence.endswith("."):
            return sentence
        if reason != "stopped" and detail.endswith("."):
            return detail  # the core says it better
        detail = detail or session.stop_reason
        return f"{sentence}: {detail}" if detail else f"{sentence}."
    if ending.returncode == 0 and session.stop_reason in ("", "client_gone"):
        return _ENDINGS["client_gone"]  # with the GPU busy for longer, the worker leaves without a word
    if session.stop_reason:
        why = _ENDINGS["client_gone"] if session.stop_reason == "client_gone" else session.stop_reason
        return f"{why} The worker {ending.how()}."
    last = f" It said last: {ending.tail[-1]}" if ending.tail else ""
    return f"The worker {ending.how()}.{last}"
