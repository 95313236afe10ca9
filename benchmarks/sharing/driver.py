"""The driver API through ctypes, as much of it as the clients of the benchmark need. Knows nothing of slices."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable

from sharing.kernels import PTX

# CUdevice_attribute: the number of multiprocessors. CUevent_flags: without times, which nobody reads here.
MULTIPROCESSORS = 16
DISABLE_TIMING = 2


class CudaError(Exception):
    """A driver call failed; the text says which and, in the driver's words, why."""


class Memory:
    """A piece of the GPU's memory that holds the pattern of a seed."""

    def __init__(self, address: int, size: int) -> None:
        self.address = address
        self.size = size
        self.seed = 0


class Device:
    """The first device, its context, and the kernels. Every method raises CudaError."""

    def __init__(self, small: bool) -> None:
        """`small`: the device is the CPU, where each thread of a kernel costs as much as a core's time."""
        self.library = ctypes.CDLL("libcuda.so.1")
        context = ctypes.c_void_p()
        self.cu("cuInit", 0)
        self.cu("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
        self.cu("cuCtxSetCurrent", context)
        self.cu("cuCtxSynchronize")
        module, count = ctypes.c_void_p(), ctypes.c_int()
        self.cu("cuModuleLoadData", ctypes.byref(module), PTX)
        self.kernels: dict[str, ctypes.c_void_p] = {}
        for name in ("fill", "check", "spin", "endless"):
            self.kernels[name] = ctypes.c_void_p()
            self.cu("cuModuleGetFunction", ctypes.byref(self.kernels[name]), module, name.encode())
        self.cu("cuDeviceGetAttribute", ctypes.byref(count), MULTIPROCESSORS, 0)
        # A grid that fills the GPU, so that nobody could run beside it even if the hardware allowed that.
        self.memory_grid = (16, 32) if small else (8 * count.value, 256)
        self.spin_grid = (1, 1) if small else (count.value, 128)
        self.wrong_words = self.allocate(4)
        self._launch: Callable[..., int] = self.library.cuLaunchKernel

    def cu(self, name: str, *arguments: object) -> None:
        """Calls a function of the driver."""
        code: int = getattr(self.library, name)(*arguments)
        if code != 0:
            raise CudaError(f"{name} failed with {code}: {self.sentence(code)}")

    def sentence(self, code: int) -> str:
        """What the driver says of an error."""
        said = ctypes.c_char_p()
        self.library.cuGetErrorString(code, ctypes.byref(said))
        return (said.value or b"no words").decode(errors="replace")

    def synchronise(self) -> None:
        """Waits for all that was launched."""
        self.cu("cuCtxSynchronize")

    def allocate(self, size: int) -> int:
        """Address of new memory of that many bytes."""
        address = ctypes.c_uint64()
        self.cu("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        return address.value

    def free(self, address: int) -> None:
        """Gives memory back."""
        self.cu("cuMemFree_v2", ctypes.c_uint64(address))

    def launch(self, name: str, grid: tuple[int, int], *values: ctypes._SimpleCData[int]) -> None:
        """Launches a kernel in the default stream."""
        parameters = (ctypes.c_void_p * max(1, len(values)))(*(ctypes.addressof(v) for v in values))
        none = ctypes.c_void_p()
        self.cu("cuLaunchKernel", self.kernels[name], grid[0], 1, 1, grid[1], 1, 1, 0, none, parameters, none)

    def fill(self, memory: Memory, seed: int) -> None:
        """Writes the pattern of a seed; does not wait."""
        memory.seed = seed & 0xFFFFFFFF
        self.launch(
            "fill",
            self.memory_grid,
            ctypes.c_uint64(memory.address),
            ctypes.c_uint64(memory.size // 4),
            ctypes.c_uint32(memory.seed),
        )

    def check(self, pieces: list[Memory]) -> int:
        """How many words of these pieces are not as they were filled; waits."""
        self.cu("cuMemsetD32_v2", ctypes.c_uint64(self.wrong_words), ctypes.c_uint32(0), ctypes.c_size_t(1))
        for memory in pieces:
            self.launch(
                "check",
                self.memory_grid,
                ctypes.c_uint64(memory.address),
                ctypes.c_uint64(memory.size // 4),
                ctypes.c_uint32(memory.seed),
                ctypes.c_uint64(self.wrong_words),
            )
        return self.word(self.wrong_words)

    def word(self, address: int) -> int:
        """Four bytes of the GPU's memory: the smallest thing for which everything must be there; waits."""
        value = ctypes.c_uint32()
        self.cu("cuMemcpyDtoH_v2", ctypes.byref(value), ctypes.c_uint64(address), ctypes.c_size_t(4))
        return value.value

    def spinner(self, iterations: int) -> Callable[[], None]:
        """A function that launches one `spin` and prepares nothing any more."""
        values = ctypes.c_uint32(iterations), ctypes.c_uint64(self.wrong_words)
        parameters = (ctypes.c_void_p * 2)(*(ctypes.addressof(v) for v in values))
        kernel, (blocks, threads), none = self.kernels["spin"], self.spin_grid, ctypes.c_void_p()
        launch = self._launch

        def spin(_alive: object = values) -> None:
            code = launch(kernel, blocks, 1, 1, threads, 1, 1, 0, none, parameters, none)
            if code != 0:
                raise CudaError(f"cuLaunchKernel failed with {code}: {self.sentence(code)}")

        return spin

    def event(self) -> ctypes.c_void_p:
        """A new event."""
        made = ctypes.c_void_p()
        self.cu("cuEventCreate", ctypes.byref(made), DISABLE_TIMING)
        return made

    def calibrate(self, microseconds: float) -> tuple[int, float]:
        """Iterations of a `spin` that takes about so long here, and how long it then took (us, best of three)."""
        iterations, took = 1000, 0.0
        for _ in range(6):  # the GPU's clocks rise meanwhile
            took = self._time(iterations)
            iterations = max(1, min(1 << 30, round(iterations * microseconds / max(took, 0.1))))
        return iterations, min(self._time(iterations) for _ in range(3))

    def _time(self, iterations: int) -> float:
        """Microseconds of one kernel among many in a row."""
        spin, count = self.spinner(iterations), 4
        while True:
            self.synchronise()
            began = time.monotonic()
            for _ in range(count):
                spin()
            self.synchronise()
            took = time.monotonic() - began
            if took > 0.05 or count >= 4096:
                return took * 1e6 / count
            count *= 4
