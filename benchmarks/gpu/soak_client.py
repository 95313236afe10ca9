"""The client's side of the soak: `python -m gpu.soak_client sessions COUNT AT_ONCE | session HOW | modules COUNT`.

`session` is one short program that uses the GPU and ends as HOW says; `sessions` runs many of them under one slice;
`modules` loads and unloads modules in one process, and stops at each quarter for the driver to look.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from gpu import memory
from gpu.driver_calls import Driver

# Ends: as a program should; with everything still allocated; killed with work under way.
ENDS = ("tidy", "untidy", "killed")
TEXTS = 16
QUARTERS = 4

PTX = """
.version 7.0
.target sm_75
.address_size 64
.visible .global .align 4 .u32 variable_{number} = {number};
.visible .entry set(.param .u64 out) {{
  .reg .u64 a;
  .reg .u32 v;
  ld.param.u64 a, [out];
  ld.global.u32 v, [variable_{number}];
  st.global.u32 [a], v;
  ret;
}}
"""


def session(how: str) -> int:
    """Allocates, fills, streams, copies back."""
    cuda = Driver()
    address = cuda.allocate(1 << 20)
    pinned = cuda.pinned(4096)
    stream = ctypes.c_void_p()
    cuda("cuStreamCreate", ctypes.byref(stream), 0)
    cuda("cuMemsetD8Async", address, ctypes.c_ubyte(7), ctypes.c_size_t(1 << 20), stream)
    cuda("cuMemcpyDtoHAsync_v2", pinned, address, ctypes.c_size_t(4096), stream)
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    cuda("cuStreamSynchronize", stream)
    if ctypes.string_at(pinned, 4096) != b"\7" * 4096:
        print("The copy from the GPU is not what was written", file=sys.stderr)
        return 1
    if how == "tidy":
        cuda("cuStreamDestroy_v2", stream)
        cuda.free(address)
        cuda.free_pinned(pinned)
    return 0


def sessions(count: int, at_once: int) -> int:
    """Runs them; 1 if one did not end as it should."""
    running: list[tuple[str, subprocess.Popen[bytes]]] = []
    wrong = 0
    for number in range(count + at_once):
        # The oldest one makes room.
        if running and (len(running) == at_once or number >= count):
            how, process = running.pop(0)
            expected = -signal.SIGKILL if how == "killed" else 0
            if process.wait() != expected:
                print(f"a {how} session ended with status {process.returncode}", file=sys.stderr)
                wrong += 1
        if number < count:
            how = ENDS[number % len(ENDS)]
            command = [sys.executable, "-S", "-m", "gpu.soak_client", "session", how]
            running.append((how, subprocess.Popen(command)))
    return 1 if wrong else 0


def modules(count: int) -> int:
    """Loads, launches from and unloads `count` modules; tells at the start and after each quarter what it occupies."""
    cuda = Driver()
    address = cuda.allocate(4)
    arguments = (ctypes.c_void_p * 1)(ctypes.addressof(address))
    module, function = ctypes.c_void_p(), ctypes.c_void_p()
    texts = [PTX.format(number=number).encode() for number in range(TEXTS)]

    def load_and_unload(number: int) -> None:
        cuda("cuModuleLoadData", ctypes.byref(module), texts[number % TEXTS])
        cuda("cuModuleGetFunction", ctypes.byref(function), module, b"set")
        cuda("cuLaunchKernel", function, 1, 1, 1, 1, 1, 1, 0, None, arguments, None)
        value = ctypes.c_uint()
        cuda("cuMemcpyDtoH_v2", ctypes.byref(value), address, ctypes.c_size_t(4))
        cuda("cuModuleUnload", module)
        if value.value != number % TEXTS:
            raise SystemExit(f"The kernel of module {number} wrote {value.value}")

    for number in range(max(TEXTS, count // 10)):
        load_and_unload(number)
    for quarter in range(QUARTERS + 1):
        tell(cuda, quarter)
        if quarter < QUARTERS:
            for number in range(count * quarter // QUARTERS, count * (quarter + 1) // QUARTERS):
                load_and_unload(number)
    return 0


def tell(cuda: Driver, quarter: int) -> None:
    """One line of JSON; then waits to be told to go on."""
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    cuda("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
    said: dict[str, Any] = {
        "quarter": quarter,
        "pid": os.getpid(),
        "rss": memory.of_process(os.getpid())["own_rss"],
        "fds": len(list(Path("/proc/self/fd").iterdir())),
        "used": total.value - free.value,
    }
    print(json.dumps(said), flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "session":
        status = session(rest[0])
    elif what == "sessions":
        status = sessions(int(rest[0]), int(rest[1]))
    else:
        status = modules(int(rest[0]))
    sys.exit(status)
