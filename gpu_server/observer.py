"""Asks the daemon how the slice of this process is doing: the Python end of kernel_hook/protocol/observation.hpp.

For programs under a slice, such as the notebook's magics (jupyter_tfusion/magics.py). One short exchange per question,
without a session, a worker or anything that stays behind; kernel_hook/nvml/observer.cpp does the same for NVML.
Imports nothing but the standard library, as it runs in the learner's kernel.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import time
from collections.abc import Mapping

from gpu_server.errors import ServerUnreachable, TFusionError, WrongToken
from gpu_server.handshake import WELCOME, Hello, Welcome, WelcomeStatus
from gpu_server.observation import SIZE_BYTES, Observation
from kernel_hook import SESSION_VARIABLES

PATIENCE_S = 2.0  # as NVML's: a daemon that is alive answers within milliseconds
FIRST_LOOK_S = 0.001
SETTLE_S = (
    0.01  # after so long all GPU time is charged: the daemon looks that often where it is asked (look_again)
)
LAST_LOOK_S = 0.05


class NotUnderASlice(TFusionError):
    """This process has no slice."""

    def __init__(self) -> None:
        super().__init__(
            "This Python does not run under a GPU slice, so there is nothing to show. Choose a vGPU kernel (Kernel, "
            'Change Kernel, "Python 3 (vGPU ...)"), or start a program with: tfusion run -- COMMAND'
        )


def observe(
    environment: Mapping[str, str] = os.environ, *, mark: bool = False, timeout_s: float = PATIENCE_S
) -> Observation:
    """How the slice that ``environment`` names is doing. With ``mark`` the daemon begins a new measurement of the most
    memory in use, whose number is the answer's ``mark`` (see Observation.peak_since).

    Raises NotUnderASlice, WrongToken when the slice has ended, ServerUnreachable; all are TFusionErrors whose text is
    for the learner.
    """
    path, slice_id, token = (environment.get(name, "") for name in SESSION_VARIABLES)
    if not (path and slice_id and token):
        raise NotUnderASlice
    hello = Hello(os.getpid(), slice_id, token, "", observer=True, marks=mark)
    try:
        data = _exchange(path, hello.pack(), time.monotonic() + timeout_s)
    except (OSError, EOFError, struct.error):
        raise ServerUnreachable(
            f"The GPU server at {path} does not answer, so nothing is known of this kernel's slice. If this does not "
            "pass, restart the kernel to get a new slice, or tell whoever runs the server."
        ) from None
    try:
        welcome = Welcome.unpack(data[: WELCOME.size])
        if welcome.status is WelcomeStatus.WRONG_TOKEN:
            raise WrongToken(welcome.message)
        if welcome.status is not WelcomeStatus.ACCEPTED:
            raise ServerUnreachable(welcome.message)
        return Observation.unpack(data[WELCOME.size :])
    except (ValueError, struct.error):
        raise ServerUnreachable(
            f"The GPU server at {path} speaks another version than this kernel's jupyter-tfusion. Install the same "
            "version on both sides, then restart the kernel."
        ) from None


def wait_until_done(environment: Mapping[str, str] = os.environ) -> bool:
    """Returns True when the GPU has done all that this process asked of it so far.

    Waits as a synchronising CUDA call does, but is none: no error of earlier calls is told here, and no capture
    disturbed. A process without a session has nothing to wait for. False: another thread goes on asking for work, so
    there may be no end to wait for. Can be interrupted; raises as observe().
    """
    first_written, _ = _progress()
    pause_s = FIRST_LOOK_S
    while True:
        written, replayed = _progress()  # before the question: what is replayed then is seen in the answer
        seen = observe(environment)
        if written == replayed and not any(s.busy for s in seen.sessions if s.pid == os.getpid()):
            return True
        if written != first_written:
            return False
        time.sleep(pause_s)
        pause_s = min(LAST_LOOK_S, 1.5 * pause_s)


def _progress() -> tuple[int, int]:
    """How much this process has written for its worker, and how much of it is replayed (protocol/slice_facts.hpp)."""
    written, replayed = ctypes.c_uint64(0), ctypes.c_uint64(0)
    try:
        ask = ctypes.CDLL(None).cuTFusionProgress  # of the preloaded hook
    except AttributeError:
        return 0, 0
    ask(ctypes.byref(written), ctypes.byref(replayed))  # leaves them at 0 where there is no session
    return written.value, replayed.value


def _exchange(path: str, hello: bytes, deadline: float) -> bytes:
    """The whole answer. Raises OSError (TimeoutError included) or EOFError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_left(deadline))
        connection.connect(path)
        connection.sendall(hello)
        most = WELCOME.size + SIZE_BYTES + 1
        data = b""
        while len(data) < most:
            connection.settimeout(_left(deadline))
            chunk = connection.recv(most - len(data))
            if not chunk:
                break
            data += chunk
    if len(data) < WELCOME.size:
        raise EOFError
    return data


def _left(deadline: float) -> float:
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s
