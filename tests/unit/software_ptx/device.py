"""A small CUDA-like face on the test library: compile CUDA C++ or PTX, launch kernels on NumPy arrays."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ptx_library import build

OUTCOMES = (
    "success",
    "illegal_address",
    "misaligned_address",
    "trap",
    "illegal_instruction",
    "assertion",
    "cancelled",
)


class PtxError(Exception):
    """A CompileError of the compiler; `line` is 1-based."""

    def __init__(self, text: str, line: int) -> None:
        super().__init__(text)
        self.line = line


@functools.cache
def library() -> ctypes.CDLL:
    """The test library, built on first use."""
    lib = ctypes.CDLL(str(build()))
    lib.sp_compile.restype = ctypes.c_void_p
    lib.sp_kernel.restype = ctypes.c_long
    lib.sp_allocate.restype = ctypes.c_uint64
    lib.sp_texture.restype = ctypes.c_uint64
    return lib


def cuda_include() -> str:
    """The folder of CUDA's headers, from the PyPI wheel nvidia-cuda-runtime."""
    spec = importlib.util.find_spec("nvidia.cu13")
    if spec is None or spec.submodule_search_locations is None:
        raise RuntimeError("CUDA's headers are missing. Install nvidia-cuda-runtime==13.0.*")
    return str(Path(next(iter(spec.submodule_search_locations))) / "include")


@functools.lru_cache(maxsize=256)
def nvrtc(source: str, arch: str = "compute_75", options: tuple[str, ...] = ()) -> str:
    """PTX of CUDA C++ source; RuntimeError with NVRTC's log if it does not compile."""
    from cuda.bindings import nvrtc as api

    _, program = api.nvrtcCreateProgram(source.encode(), b"test.cu", 0, [], [])
    flags = [f"--gpu-architecture={arch}", "--std=c++17", f"-I{cuda_include()}", *options]
    (result,) = api.nvrtcCompileProgram(program, len(flags), [flag.encode() for flag in flags])
    if int(result) != 0:
        _, size = api.nvrtcGetProgramLogSize(program)
        log = b" " * size
        api.nvrtcGetProgramLog(program, log)
        raise RuntimeError(log.decode())
    _, size = api.nvrtcGetPTXSize(program)
    text = b" " * size
    api.nvrtcGetPTX(program, text)
    api.nvrtcDestroyProgram(program)
    return str(text.rstrip(b"\0").decode())


@dataclass
class Result:
    """What a launch gave: the Outcome's name, its detail, printed text, and how late a stop was obeyed."""

    outcome: str
    detail: str
    printed: str
    stop_delay_s: float


class Buffer:
    """Device memory that holds a copy of an array."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        array = np.ascontiguousarray(array)
        self.bytes = max(array.nbytes, 1)
        self.address = int(library().sp_allocate(ctypes.c_size_t(self.bytes)))
        raw = (ctypes.c_char * self.bytes).from_address(self.address)
        self.array: np.ndarray[Any, Any] = np.frombuffer(
            memoryview(raw), dtype=array.dtype, count=array.size
        ).reshape(array.shape)
        self.array[...] = array

    def free(self) -> None:
        """Gives the memory back; kernels may not touch it any more."""
        self.array = np.empty(0)
        library().sp_free(ctypes.c_uint64(self.address), ctypes.c_size_t(self.bytes))


class Program:
    """Compiled and instantiated PTX."""

    def __init__(self, *texts: str | bytes) -> None:
        lib = library()
        raw = [text.encode() if isinstance(text, str) else text for text in texts]
        error = ctypes.create_string_buffer(4096)
        line = ctypes.c_size_t()
        handle = lib.sp_compile(
            (ctypes.c_char_p * len(raw))(*raw),
            (ctypes.c_size_t * len(raw))(*map(len, raw)),
            ctypes.c_size_t(len(raw)),
            error,
            ctypes.c_size_t(len(error)),
            ctypes.byref(line),
        )
        if not handle:
            raise PtxError(error.value.decode(), line.value)
        self.handle = ctypes.c_void_p(handle)

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            library().sp_destroy(self.handle)

    def kernel(self, name: str) -> tuple[int, dict[str, int]]:
        """A kernel's number and facts; KeyError if there is none of that name."""
        facts = (ctypes.c_uint64 * 5)()
        number = library().sp_kernel(self.handle, name.encode(), facts)
        if number < 0:
            raise KeyError(name)
        names = ("parameter_bytes", "static_shared_bytes", "local_bytes", "max_threads", "parameters")
        return number, dict(zip(names, map(int, facts), strict=True))

    def parameter(self, kernel: int, index: int) -> tuple[int, int]:
        """Offset and size of a kernel's parameter."""
        out = (ctypes.c_uint64 * 2)()
        library().sp_parameter(self.handle, ctypes.c_size_t(kernel), ctypes.c_size_t(index), out)
        return int(out[0]), int(out[1])

    def variable(self, name: str, dtype: Any) -> np.ndarray[Any, Any]:
        """The memory of a global variable, as an array."""
        out = (ctypes.c_uint64 * 3)()
        library().sp_global(self.handle, name.encode(), out)
        if out[0] == 0:
            raise KeyError(name)
        raw = memoryview((ctypes.c_char * out[1]).from_address(out[0]))
        found: np.ndarray[Any, Any] = np.frombuffer(raw, dtype=dtype)
        return found

    def launch(
        self,
        name: str,
        grid: int | tuple[int, ...],
        block: int | tuple[int, ...],
        *arguments: Any,
        shared: int = 0,
        stop_after_ms: int = 0,
    ) -> Result:
        """Runs a kernel. Arguments are Buffers (their address), NumPy scalars or bytes."""
        number, facts = self.kernel(name)
        block_bytes = bytearray(facts["parameter_bytes"])
        if len(arguments) != facts["parameters"]:
            raise TypeError(f"{name} takes {facts['parameters']} arguments, not {len(arguments)}")
        for index, argument in enumerate(arguments):
            if isinstance(argument, Buffer):
                raw = np.uint64(argument.address).tobytes()
            elif isinstance(argument, bytes):
                raw = argument
            else:
                raw = argument.tobytes()
            offset, size = self.parameter(number, index)
            if len(raw) != size:
                raise TypeError(f"argument {index} of {name} has {size} bytes, not {len(raw)}")
            block_bytes[offset : offset + size] = raw
        detail = ctypes.create_string_buffer(4096)
        printed = ctypes.create_string_buffer(1 << 20)
        delay = ctypes.c_double()

        def three(value: int | tuple[int, ...]) -> Any:
            sizes = (value,) if isinstance(value, int) else value
            return (ctypes.c_uint * 3)(*sizes, *([1] * (3 - len(sizes))))

        outcome = library().sp_launch(
            self.handle,
            ctypes.c_size_t(number),
            three(grid),
            three(block),
            ctypes.c_size_t(shared),
            bytes(block_bytes),
            ctypes.c_size_t(len(block_bytes)),
            ctypes.c_uint(stop_after_ms),
            detail,
            ctypes.c_size_t(len(detail)),
            printed,
            ctypes.c_size_t(len(printed)),
            ctypes.byref(delay),
        )
        return Result(
            OUTCOMES[outcome], detail.value.decode(), printed.value.decode(errors="replace"), delay.value
        )

    def run(self, name: str, grid: Any, block: Any, *arguments: Any, shared: int = 0) -> Result:
        """launch() that must succeed."""
        result = self.launch(name, grid, block, *arguments, shared=shared)
        assert result.outcome == "success", f"{result.outcome}: {result.detail}"
        return result


def cuda(source: str, arch: str = "compute_75", options: tuple[str, ...] = ()) -> Program:
    """CUDA C++ through NVRTC."""
    return Program(nvrtc(source, arch, options))


HEAD = ".version 8.0\n.target sm_75\n.address_size 64\n"


def elementwise(
    body: str, registers: str, inputs: list[Any], output: Any, count: int | None = None
) -> np.ndarray[Any, Any]:
    """Runs hand-written PTX on arrays, one element for each thread.

    `body` reads element i of input k from a register %a{k} (of the input's width: b16, b32, b64, or b8 in a b16 one)
    and leaves its result in %d. Returns the output array, of dtype `output`.
    """
    arrays = [np.ascontiguousarray(array) for array in inputs]
    n = count if count is not None else len(arrays[0])
    lines = [HEAD, ".visible .entry k("]
    lines.append(", ".join(f".param .u64 p{i}" for i in range(len(arrays) + 1)))
    lines.append(") {\n.reg .pred %inside; .reg .b32 %i; .reg .b64 %at, %off;")
    lines.append(registers)
    widths = [array.dtype.itemsize for array in arrays]
    for i, width in enumerate(widths):
        lines.append(f".reg .b{max(width, 2) * 8} %a{i};")
    out_width = np.dtype(output).itemsize
    lines.append(f".reg .b{max(out_width, 2) * 8} %d;")
    lines.append(".reg .b32 %c, %n, %t; mov.u32 %c, %ctaid.x; mov.u32 %n, %ntid.x; mov.u32 %t, %tid.x;")
    lines.append(f"mad.lo.u32 %i, %c, %n, %t; setp.ge.u32 %inside, %i, {n}; @%inside ret;")
    for i, width in enumerate(widths):
        lines.append(f"ld.param.u64 %at, [p{i}]; mul.wide.u32 %off, %i, {width}; add.u64 %at, %at, %off;")
        lines.append(f"ld.global.b{width * 8} %a{i}, [%at];")
    lines.append(body)
    lines.append(
        f"ld.param.u64 %at, [p{len(arrays)}]; mul.wide.u32 %off, %i, {out_width}; add.u64 %at, %at, %off;"
    )
    lines.append(f"st.global.b{out_width * 8} [%at], %d; ret; }}")
    program = Program("\n".join(lines))
    buffers = [Buffer(array) for array in arrays]
    result = Buffer(np.zeros(n, output))
    program.run("k", (n + 127) // 128, 128, *buffers, result)
    values: np.ndarray[Any, Any] = result.array.copy()
    for buffer in [*buffers, result]:
        buffer.free()
    return values
