"""A worker process whose replay core is a double: everything of gpu_server.worker is real but what touches a GPU.

Started like ``python -m gpu_server.worker`` by tests that give it as the worker command. The double keeps the core's
contract: it answers with the Welcome, holds the connection until its end, and counts memory in the slice's account
and on its turn's page. The variable FAKE_CORE selects how it misbehaves; see FakeCore. A client tells it what to do
by single bytes on its connection, which a real core would not read.
"""

from __future__ import annotations

import importlib
import mmap
import os
import select
import socket
import struct
import sys
import types

from gpu_server import turn as turn_module
from gpu_server.account import SIZE_BYTES, SLOTS
from gpu_server.handshake import Welcome, WelcomeStatus

ALLOCATE = b"a"  # takes 1 MiB in the account; answers b"y" or b"n"
FAIL = b"f"  # ends with device_error
CRASH = b"c"  # the process ends by SIGSEGV
STEP_BYTES = 1 << 20
RESIDENT = turn_module._RESIDENT


class FakeCore:
    def __init__(self, driver_path: str, device: int, cache_dir: str) -> None:
        self.mode = os.environ.get("FAKE_CORE", "")
        if self.mode == "cannot_open":
            print("the fake driver is out of order", file=sys.stderr, flush=True)
            raise RuntimeError(f"The driver {driver_path} reports no GPU.")
        if self.mode == "dies":
            print("last words", file=sys.stderr, flush=True)
            os._exit(7)
        if self.mode == "hangs":
            select.select([], [], [])
        self.calls = 0
        self.used = 0
        self.wake_reader, self.wake_writer = os.pipe()
        self.reason = ""
        print("core opened", file=sys.stderr, flush=True)

    def facts(self) -> dict[str, object]:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        return {
            "name": "Fake GPU",
            "driver_version": "1.2",
            "visible": visible,
            "environment": dict(os.environ),
        }

    def stop(self, reason: str) -> None:
        if self.mode == "ignores_stop":
            return
        self.reason = reason
        os.write(self.wake_writer, b"x")

    def serve(
        self,
        client_fd: int,
        limit: int,
        account_fd: int,
        slot: int,
        turn_fd: int,
        orders_fd: int,
        bell_fd: int,
        spill_folder: str,
        piece_bytes: int,
    ) -> tuple[str, str]:
        client = socket.socket(fileno=client_fd)
        client.setblocking(True)
        account = mmap.mmap(account_fd, SIZE_BYTES)
        turn = mmap.mmap(turn_fd, turn_module.SIZE_BYTES)
        shared = os.memfd_create("shared")
        os.ftruncate(shared, 4096)
        client.sendmsg(
            [Welcome(WelcomeStatus.ACCEPTED, "", 4096, 4096).pack()],
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("2i", shared, shared))],
        )
        while True:
            readable, _, _ = select.select([client, self.wake_reader], [], [])
            if self.wake_reader in readable:
                return "stopped", self.reason
            command = client.recv(1)
            self.calls += 1
            calls_at = 8 * (1 + 3 * SLOTS + slot)
            account[calls_at : calls_at + 8] = struct.pack("<Q", self.calls)
            if not command:
                return "client_gone", ""
            if command == FAIL:
                return "device_error", "CUDA_ERROR_ILLEGAL_ADDRESS"
            if command == CRASH:
                os.kill(os.getpid(), 11)
            if command == ALLOCATE:
                words = struct.unpack(f"<{1 + SLOTS}Q", account[: 8 * (1 + SLOTS)])
                fits = sum(words[1:]) + STEP_BYTES <= words[0]
                if fits:
                    self.used += STEP_BYTES
                    account[8 * (1 + slot) : 8 * (2 + slot)] = struct.pack("<Q", self.used)
                    turn[8 * RESIDENT : 8 * RESIDENT + 8] = struct.pack("<Q", self.used)
                client.send(b"y" if fits else b"n")


module = types.ModuleType("gpu_server._replay")
module.Worker = FakeCore  # type: ignore[attr-defined]
sys.modules["gpu_server._replay"] = module

if __name__ == "__main__":
    importlib.import_module("gpu_server.worker").main()
