"""The observer's client: whatever the daemon does, the answer is a state or a sentence with what to do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gpu_server.errors import ServerUnreachable, WrongToken
from gpu_server.handshake import HELLO, PROTOCOL_VERSION, Hello, Welcome, WelcomeStatus
from gpu_server.observation import SIZE_BYTES, Observation
from gpu_server.observer import NotUnderASlice, observe, wait_until_done

StartDaemon = Callable[..., Awaitable[Any]]
ACCEPTED = Welcome(WelcomeStatus.ACCEPTED, shared_bytes=SIZE_BYTES).pack()
STATE = Observation("GPU", "1", 4 << 20, 0, {}, []).pack()


class Answering:
    """Answers one question with given bytes; None: never."""

    def __init__(self, path: Path, answer: bytes | None) -> None:
        self.environment = {"TFUSION_SOCKET": str(path), "TFUSION_SLICE": "s", "TFUSION_TOKEN": "ab"}
        self.hello: Hello | None = None
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(os.fspath(path))
        self._socket.listen()
        self._release = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(answer,))
        self._thread.start()

    def _serve(self, answer: bytes | None) -> None:
        try:
            connection, _ = self._socket.accept()
        except OSError:
            return
        with connection:
            self.hello = Hello.unpack(connection.recv(HELLO.size, socket.MSG_WAITALL))
            if answer is None:
                self._release.wait()
            else:
                connection.sendall(answer)

    def close(self) -> None:
        self._release.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[Callable[[bytes | None], Answering]]:
    made: list[Answering] = []

    def make(answer: bytes | None) -> Answering:
        made.append(Answering(tmp_path / f"{len(made)}.sock", answer))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_the_answer_is_the_slices_state(answering: Callable[..., Answering]) -> None:
    daemon = answering(ACCEPTED + STATE)
    assert observe(daemon.environment).limit_bytes == 4 << 20
    assert daemon.hello == Hello(os.getpid(), "s", "ab", "", observer=True)
    daemon = answering(ACCEPTED + STATE)
    observe(daemon.environment, mark=True)
    assert daemon.hello == Hello(os.getpid(), "s", "ab", "", observer=True, marks=True)


@pytest.mark.parametrize("missing", ["TFUSION_SOCKET", "TFUSION_SLICE", "TFUSION_TOKEN"])
def test_without_a_slice_there_is_nobody_to_ask(missing: str) -> None:
    environment = {"TFUSION_SOCKET": "/x", "TFUSION_SLICE": "s", "TFUSION_TOKEN": "ab"}
    with pytest.raises(NotUnderASlice, match="Choose a vGPU kernel"):
        observe({**environment, missing: ""})


@pytest.mark.parametrize(
    ("answer", "error", "sentence"),
    [
        (Welcome(WelcomeStatus.WRONG_TOKEN, "It is gone.").pack(), WrongToken, "It is gone."),
        (Welcome(WelcomeStatus.STOPPING, "It is stopping.").pack(), ServerUnreachable, "It is stopping."),
        (b"", ServerUnreachable, "does not answer"),
        (ACCEPTED[:100], ServerUnreachable, "does not answer"),
        (ACCEPTED, ServerUnreachable, "another version"),
        (ACCEPTED + STATE[:-1], ServerUnreachable, "another version"),
        (ACCEPTED + STATE + b"x", ServerUnreachable, "another version"),
        (b"x" * 20_000, ServerUnreachable, "another version"),
        (
            ACCEPTED.replace(PROTOCOL_VERSION.to_bytes(4, "little"), b"\2\0\0\0", 1) + STATE,
            ServerUnreachable,
            "another version",
        ),
    ],
    ids=["ended", "stopping", "nothing", "cut", "no state", "short", "long", "nonsense", "older"],
)
def test_any_other_answer_is_a_sentence(
    answering: Callable[..., Answering], answer: bytes, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        observe(answering(answer).environment)


def test_a_daemon_that_is_silent_or_gone_is_not_waited_for(
    answering: Callable[..., Answering], tmp_path: Path
) -> None:
    with pytest.raises(ServerUnreachable, match="does not answer"):
        observe(answering(None).environment, timeout_s=0.05)
    nobody = {"TFUSION_SOCKET": str(tmp_path / "none"), "TFUSION_SLICE": "s", "TFUSION_TOKEN": "ab"}
    with pytest.raises(ServerUnreachable, match="does not answer"):
        observe(nobody)
    too_long = {**nobody, "TFUSION_SOCKET": "/x" * 200}
    with pytest.raises(ServerUnreachable, match="does not answer"):
        observe(too_long)


async def test_a_real_daemon_answers_and_a_process_without_a_session_has_nothing_to_wait_for(
    start_daemon: StartDaemon,
) -> None:
    d = await start_daemon()
    opened = await d.open(name="lab.ipynb")
    environment = {
        "TFUSION_SOCKET": d.session_socket,
        "TFUSION_SLICE": opened.slice_id,
        "TFUSION_TOKEN": opened.token,
    }
    first = await d.do(observe, environment, mark=True)
    assert (first.slice_name, first.mark, first.peak_since(1)) == ("lab.ipynb", 1, 0)
    peer, _ = await d.connect(opened)
    assert await d.do(peer.ask, peer.ALLOCATE) == b"y"
    await d.do(wait_until_done, environment)
    assert (await d.do(observe, environment)).used_bytes == 1 << 20
    await d.do(d.client.close_slice, opened.slice_id, opened.token)
    with pytest.raises(WrongToken, match="Restart the kernel"):
        await d.do(observe, environment)


def test_it_loads_nothing_that_a_learners_kernel_need_not_have() -> None:
    script = (
        "import sys; import gpu_server.observer, jupyter_tfusion; "
        "print([m for m in ('grpc', 'google.protobuf', 'jupyter_client', 'traitlets', 'tornado') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
