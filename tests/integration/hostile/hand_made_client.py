"""A client process's end of a session, made by hand: it may do what the hook never would.

Used by the tests of this folder. All layout comes from the C++ headers (layout.cpp).
"""

from __future__ import annotations

import ctypes
import mmap
import os
import select
import socket
import struct
import time
from pathlib import Path
from typing import Any

from gpu_server.client import OpenedSlice
from gpu_server.handshake import WELCOME, Hello, Welcome, WelcomeStatus

PATIENCE_S = 60.0
MANY_DESCRIPTORS = 64
_SYS_FUTEX, _FUTEX_WAKE = 202, 1  # x86-64


class Layout(dict[str, Any]):
    """What layout.cpp printed."""

    def handle(self, kind: str, place: int = 0) -> int:
        """The handle of a place, as the hook numbers its objects."""
        known = self["handles"][kind]
        return int(known["first"] + place * known["step"])

    def stale(self, kind: str) -> int:
        """A handle of place 0, of another generation than handle()'s."""
        return int(self["handles"][kind]["stale"])


class HandMadeClient:
    """One connection to the session socket, and the shared memory that came with it."""

    def __init__(self, layout: Layout, session_socket: Path) -> None:
        self.layout = layout
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(os.fspath(session_socket))
        self.descriptors: list[int] = []
        self.memory: mmap.mmap
        self.head = 0

    # -- handshake

    def hello(self, opened: OpenedSlice, token: str | None = None, name: str = "hand-made") -> Welcome:
        """Says who it is and maps the memory, if the answer is that it may."""
        self.socket.sendall(
            Hello(os.getpid(), opened.slice_id, opened.token if token is None else token, name).pack()
        )
        data, self.descriptors, flags, _ = socket.recv_fds(self.socket, WELCOME.size, MANY_DESCRIPTORS)
        assert not flags & socket.MSG_CTRUNC
        while len(data) < WELCOME.size:
            more = self.socket.recv(WELCOME.size - len(data))
            assert more, "the connection ended before a whole Welcome"
            data += more
        welcome = Welcome.unpack(data)
        if welcome.status is WelcomeStatus.ACCEPTED:
            self.memory = mmap.mmap(self.descriptors[0], welcome.shared_bytes)
        return welcome

    def ended(self) -> bool:
        """Waits for the end of the connection, which follows the end of the session."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def alive(self) -> bool:
        """The connection has not ended by now."""
        return not select.select([self.socket], [], [], 0)[0]

    def close(self) -> None:
        self.socket.close()
        if hasattr(self, "memory"):
            self.memory.close()
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = []

    # -- shared memory

    def word(self, offset: int, type_: type[ctypes._SimpleCData[int]] = ctypes.c_uint32) -> int:
        """An integer of the shared memory, read in one piece: the worker may write it just now."""
        return int(type_.from_buffer(self.memory, offset).value)

    def set_word(
        self, offset: int, value: int, type_: type[ctypes._SimpleCData[int]] = ctypes.c_uint32
    ) -> None:
        """Written in one piece. struct.pack_into with "<" goes byte by byte, and the worker may look between."""
        type_.from_buffer(self.memory, offset).value = value

    def reason(self) -> str:
        """The sentence on the status page."""
        start = self.layout["reason"]
        return self.memory[start : start + self.layout["reason_bytes"]].split(b"\0")[0].decode()

    def publish(self, head: int) -> None:
        """Tells the worker that so much was ever written, and wakes it if it sleeps."""
        self.set_word(self.layout["head"], head, ctypes.c_uint64)
        asleep = self.layout["consumer_asleep"]
        self.set_word(asleep, 0)
        word = ctypes.c_uint32.from_buffer(self.memory, asleep)
        ctypes.CDLL(None).syscall(_SYS_FUTEX, ctypes.byref(word), _FUTEX_WAKE, 1, None, None, 0)

    # -- commands

    def command(
        self, name: str, slot: int | None = None, tail: bytes = b"", **fields: int | bytes
    ) -> bytearray:
        """The bytes of a command; integers little-endian in their field's width."""
        info = self.layout["commands"][name]
        size = (info["bytes"] + len(tail) + 7) // 8 * 8
        made = bytearray(size)
        header = self.layout["header"]
        if slot is None:
            slot = 0 if info["sync"] else self.layout["no_reply"]
        struct.pack_into("<I", made, header["bytes"], size)
        struct.pack_into("<H", made, header["opcode"], info["opcode"])
        struct.pack_into("<H", made, header["reply_slot"], slot)
        struct.pack_into("<I", made, header["tail_bytes"], len(tail))
        for field, value in fields.items():
            offset, width = info["fields"][field]
            made[offset : offset + width] = (
                value if isinstance(value, bytes) else value.to_bytes(width, "little")
            )
        made[info["bytes"] : info["bytes"] + len(tail)] = tail
        return made

    def send(self, *commands: bytes | bytearray) -> None:
        """Writes commands behind each other and publishes them. They must fit what is left of the lap."""
        self.write(*commands)
        self.publish(self.head)

    def write(self, *commands: bytes | bytearray) -> None:
        """The same without a word to the worker."""
        data = b"".join(commands)
        at = self.head % self.layout["ring_bytes"]
        assert at + len(data) <= self.layout["ring_bytes"], "the lap is over"
        start = self.layout["ring"] + at
        self.memory[start : start + len(data)] = data
        self.head += len(data)

    def ask(self, name: str, tail: bytes = b"", **fields: int | bytes) -> int:
        """Sends a synchronous command and waits for its result (a CUresult, or below 0)."""
        slot = self.layout["slots"]
        self.set_word(slot + self.layout["slot_state"], self.layout["slot_pending"])
        self.send(self.command(name, 0, tail, **fields))
        deadline = time.monotonic() + PATIENCE_S
        while self.word(slot + self.layout["slot_state"]) != self.layout["slot_done"]:
            assert time.monotonic() < deadline, f"no answer to {name}"
            time.sleep(0.001)
        return self.word(slot + self.layout["slot_result"], ctypes.c_int32)

    def payload(self, size: int) -> bytes:
        """What came with the last answer."""
        start = self.layout["slots"] + self.layout["slot_payload"]
        return self.memory[start : start + size]
