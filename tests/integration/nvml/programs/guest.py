"""What the programs share: driver calls through ctypes that must succeed, and a kernel that spins while told to."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from typing import Any

cuda = ctypes.CDLL("libcuda.so.1")

SPIN = b"""
.version 7.0
.target sm_70
.address_size 64
.visible .entry spin(.param .u64 flag)
{
    .reg .pred %q;
    .reg .b32 %r;
    .reg .b64 %d;
    ld.param.u64 %d, [flag];
again:
    ld.volatile.global.u32 %r, [%d];
    setp.eq.u32 %q, %r, 0;
    @%q bra again;
    ret;
}
"""


def ok(result: int) -> None:
    """The result of a call that must succeed."""
    assert result == 0, result


def start() -> None:
    """cuInit and the primary context, current."""
    context = ctypes.c_void_p()
    ok(cuda.cuInit(0))
    ok(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0))
    ok(cuda.cuCtxSetCurrent(context))


def allocate(mib: int) -> ctypes.c_uint64:
    """So much device memory."""
    address = ctypes.c_uint64()
    ok(cuda.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(mib << 20)))
    return address


class Spinning:
    """A kernel that runs, launched without a wait, until stop()."""

    def __init__(self) -> None:
        module, kernel, self.flag = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
        ok(cuda.cuMemHostAlloc(ctypes.byref(self.flag), ctypes.c_size_t(4096), 0))
        ok(cuda.cuModuleLoadData(ctypes.byref(module), SPIN))
        ok(cuda.cuModuleGetFunction(ctypes.byref(kernel), module, b"spin"))
        flag = ctypes.c_uint64(self.flag.value or 0)
        parameters = (ctypes.c_void_p * 1)(ctypes.addressof(flag))
        ok(cuda.cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, None, parameters, None))

    def stop(self) -> None:
        """Returns when the kernel is over."""
        ctypes.c_uint32.from_address(self.flag.value or 0).value = 1
        ok(cuda.cuCtxSynchronize())


def smi(*arguments: str, program: str = "nvidia-smi") -> subprocess.CompletedProcess[str]:
    """`nvidia-smi` as a cell's `!nvidia-smi` runs it: a child of this process, found in PATH."""
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=60)


def csv(query: str, what: str = "gpu") -> list[list[str]]:
    """The rows of a query without header and units."""
    done = smi(f"--query-{what}={query}", "--format=csv,noheader,nounits")
    assert done.returncode == 0, done.stderr
    return [line.split(", ") for line in done.stdout.splitlines()]


def until(condition: Any) -> Any:
    """The first true value; the test's own limit of time ends a wait that is in vain."""
    while not (value := condition()):
        pass
    return value


def child(program: str) -> subprocess.Popen[str]:
    """Another program of this folder under the same slice; it says "ready" and ends with its stdin."""
    started = subprocess.Popen(
        [sys.executable, os.path.join(os.path.dirname(__file__), f"{program}.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    return started


def answer(value: Any) -> None:
    """What the test reads: the last line."""
    print(json.dumps(value), flush=True)
