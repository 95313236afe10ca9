"""A program that uses the driver API through ctypes, as a learner's would; run under `tfusion run` by the tests.

Each line of stdin is a command, each answer one line of stdout: "ok ..." or "error <CUresult>". It knows
nothing of slices, unless it is asked what an observer is told.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import os
import random
import signal
import sys
from collections.abc import Callable

PTX = b"""
.version 7.0
.target sm_70
.address_size 64
.visible .entry scale(.param .u64 p, .param .u32 n, .param .u32 factor)
{
    .reg .pred %q;
    .reg .b32 %r<6>;
    .reg .b64 %d<3>;
    ld.param.u64 %d0, [p];
    ld.param.u32 %r0, [n];
    ld.param.u32 %r1, [factor];
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %tid.x;
    mad.lo.u32 %r2, %r2, %r3, %r4;
    setp.ge.u32 %q, %r2, %r0;
    @%q ret;
    mul.wide.u32 %d1, %r2, 4;
    add.u64 %d1, %d0, %d1;
    ld.global.u32 %r5, [%d1];
    mul.lo.u32 %r5, %r5, %r1;
    st.global.u32 [%d1], %r5;
    ret;
}
"""

ENDLESS = b"""
.version 7.0
.target sm_70
.address_size 64
.visible .entry endless()
{
again:
    bra again;
}
"""
# CUmemAllocationProp: pinned, no handle of another kind, at device 0. CUmemAccessDesc: device 0, what is allowed.
MEMORY_OF_DEVICE = (ctypes.c_uint32 * 8)(1, 0, 1, 0)
NO_ACCESS, READ_AND_WRITE = ((ctypes.c_uint32 * 3)(1, 0, access) for access in (0, 3))


class CudaError(Exception):
    pass


def checked(function: Callable[..., int]) -> Callable[..., None]:
    def call(*arguments: object) -> None:
        result = function(*arguments)
        if result != 0:
            raise CudaError(result)

    return call


class Guest:
    def __init__(self) -> None:
        self.library = ctypes.CDLL("libcuda.so.1")
        self.address = ctypes.c_uint64()
        self.kernel = ctypes.c_void_p()
        self.filled: dict[int, bytes] = {}  # address: contents
        self.halves: list[tuple[ctypes.c_uint64, bytes]] = []
        self.reached: int | None = None  # the half that is mapped

    def cu(self, name: str) -> Callable[..., None]:
        return checked(getattr(self.library, name))

    def start(self) -> str:
        self.cu("cuInit")(0)
        count, context = ctypes.c_int(), ctypes.c_void_p()
        self.cu("cuDeviceGetCount")(ctypes.byref(count))
        self.cu("cuDevicePrimaryCtxRetain")(ctypes.byref(context), 0)
        self.cu("cuCtxSetCurrent")(context)
        self.cu("cuCtxSynchronize")()
        return str(count.value)

    def memory(self) -> str:
        total = ctypes.c_size_t()
        self.cu("cuDeviceTotalMem_v2")(ctypes.byref(total), 0)
        return str(total.value)

    def allocate(self, size: str) -> str:
        self.cu("cuMemAlloc_v2")(ctypes.byref(self.address), ctypes.c_size_t(int(size)))
        self.cu("cuCtxSynchronize")()
        return "allocated"

    def scale(self, count: str, factor: str) -> str:
        """Scales 0..count-1 on the GPU and compares."""
        n = int(count)
        values = (ctypes.c_uint32 * n)(*range(n))
        module = ctypes.c_void_p()
        self.cu("cuModuleLoadData")(ctypes.byref(module), PTX)
        self.cu("cuModuleGetFunction")(ctypes.byref(self.kernel), module, b"scale")
        self.cu("cuMemAlloc_v2")(ctypes.byref(self.address), ctypes.c_size_t(4 * n))
        self.cu("cuMemcpyHtoD_v2")(self.address, values, ctypes.c_size_t(4 * n))
        self.launch(self.address.value, n, int(factor))
        back = (ctypes.c_uint32 * n)()
        self.cu("cuMemcpyDtoH_v2")(back, self.address, ctypes.c_size_t(4 * n))
        return "correct" if list(back) == [i * int(factor) for i in range(n)] else "wrong"

    def wild(self) -> str:
        """Lets the kernel write where nothing is."""
        self.launch(0x10, 32, 1)
        self.cu("cuCtxSynchronize")()
        return "survived"

    def launch(self, address: int, n: int, factor: int) -> None:
        values = ctypes.c_uint64(address), ctypes.c_uint32(n), ctypes.c_uint32(factor)
        parameters = (ctypes.c_void_p * 3)(*(ctypes.addressof(value) for value in values))
        blocks = (n + 127) // 128
        self.cu("cuLaunchKernel")(self.kernel, blocks, 1, 1, 128, 1, 1, 0, None, parameters, None)

    def spin(self) -> str:
        """Starts a kernel that never ends."""
        module, kernel = ctypes.c_void_p(), ctypes.c_void_p()
        self.cu("cuModuleLoadData")(ctypes.byref(module), ENDLESS)
        self.cu("cuModuleGetFunction")(ctypes.byref(kernel), module, b"endless")
        self.cu("cuLaunchKernel")(kernel, 1, 1, 1, 1, 1, 1, 0, None, None, None)
        return "spins"

    def why(self) -> str:
        """What the driver says of the error that every call returns now."""
        sentence = ctypes.c_char_p()
        self.cu("cuGetErrorString")(46, ctypes.byref(sentence))
        return (sentence.value or b"").decode()

    def churn(self, count: str, mib: str) -> str:
        """Takes and gives back memory in a loop."""
        for _ in range(int(count)):
            self.cu("cuMemAlloc_v2")(ctypes.byref(self.address), ctypes.c_size_t(int(mib) << 20))
            self.cu("cuMemFree_v2")(self.address)
        return "churned"

    def unknown(self) -> str:
        """Calls something that no virtual GPU has."""
        self.cu("cuProfilerInitialize")(None, None, 0)
        return "known"

    def sync(self) -> str:
        self.cu("cuCtxSynchronize")()
        return "synchronised"

    def fill(self, mib: str, seed: str) -> str:
        """Takes memory and fills it; unchanged() looks at all that was ever filled."""
        data = random.Random(int(seed)).randbytes(int(mib) << 20)
        address = ctypes.c_uint64()
        self.cu("cuMemAlloc_v2")(ctypes.byref(address), ctypes.c_size_t(len(data)))
        self.cu("cuMemcpyHtoD_v2")(address, data, ctypes.c_size_t(len(data)))
        self.filled[address.value] = data
        return "filled"

    def map(self, mib: str, seed: str) -> str:
        """The same with the virtual memory API: one half has an address and no access, the other no address."""
        half, none = ctypes.c_size_t(int(mib) << 19), ctypes.c_uint64(0)
        start = ctypes.c_uint64()
        self.cu("cuMemAddressReserve")(ctypes.byref(start), half, none, none, none)
        for part in (0, 1):
            memory = ctypes.c_uint64()
            self.cu("cuMemCreate")(ctypes.byref(memory), half, MEMORY_OF_DEVICE, none)
            self.halves.append((memory, random.Random(int(seed) + part).randbytes(half.value)))
            self.reach(start.value, part)
            self.cu("cuMemcpyHtoD_v2")(start, self.halves[part][1], half)
        self.cu("cuMemSetAccess")(start, half, NO_ACCESS, ctypes.c_size_t(1))
        self.filled.clear()
        return str(start.value)

    def reach(self, address: str | int, part: str | int) -> str:
        """Maps one of the halves and allows access to it; the other has no address then."""
        memory, data = self.halves[int(part)]
        at, half, none = ctypes.c_uint64(int(address)), ctypes.c_size_t(len(data)), ctypes.c_uint64(0)
        if self.reached is not None:
            self.cu("cuMemUnmap")(at, half)
        self.cu("cuMemMap")(at, half, none, memory, none)
        self.cu("cuMemSetAccess")(at, half, READ_AND_WRITE, ctypes.c_size_t(1))
        self.reached = int(part)
        self.filled[at.value] = data
        return "reached"

    def unchanged(self) -> str:
        """Whether the GPU's memory holds what was filled in."""
        for address, data in self.filled.items():
            back = ctypes.create_string_buffer(len(data))
            self.cu("cuMemcpyDtoH_v2")(back, ctypes.c_uint64(address), ctypes.c_size_t(len(data)))
            if back.raw != data:
                return "changed"
        return "unchanged"

    def observe(self, mark: str = "") -> str:
        """What the daemon tells this process of its slice, as JSON; with "mark" it begins a measurement."""
        from gpu_server.observer import observe, wait_until_done

        wait_until_done()
        return json.dumps(dataclasses.asdict(observe(mark=bool(mark))))

    def die(self) -> str:
        os.kill(os.getpid(), signal.SIGKILL)
        return ""


def main() -> None:
    guest = Guest()
    for line in sys.stdin:
        command, *arguments = line.split()
        try:
            print("ok", getattr(guest, command)(*arguments), flush=True)
        except CudaError as error:
            print("error", error, flush=True)


main()
