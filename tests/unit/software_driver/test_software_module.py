"""Modules, libraries, the linker and the forms in which images come."""

from __future__ import annotations

import ctypes
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from software_gpu import (
    FILE_NOT_FOUND,
    FILL_PTX,
    INVALID_HANDLE,
    INVALID_IMAGE,
    INVALID_PTX,
    INVALID_VALUE,
    NO_BINARY_FOR_GPU,
    NOT_FOUND,
    NOT_PERMITTED,
    PTX,
    UNSUPPORTED_PTX_VERSION,
    Driver,
)

BAD_PTX = b".version 7.5\n.target sm_75\n.address_size 64\n.visible .entry f()\n{\n    frobnicate.u32;\n    ret;\n}\n"


def load_result(driver: Driver, image: Any) -> int:
    return driver.result("cuModuleLoadData", ctypes.byref(ctypes.c_uint64()), image)


class Log:
    """A JIT error log for cuModuleLoadDataEx and its kin."""

    def __init__(self, size: int = 1000) -> None:
        self.buffer = ctypes.create_string_buffer(b"old", size)
        self.names = (ctypes.c_int * 2)(5, 6)
        self.values = (ctypes.c_void_p * 2)(ctypes.addressof(self.buffer), size)

    @property
    def text(self) -> str:
        return self.buffer.value.decode()

    @property
    def written(self) -> int:
        return self.values[1] or 0


def run_store(driver: Driver, module: int) -> None:
    """Show that a module works."""
    memory = driver.allocate(4)
    driver.launch(driver.function(module, "store"), ctypes.c_uint64(memory), ctypes.c_uint32(0x12345678))
    assert driver.download(memory, 4) == b"\x78\x56\x34\x12"


def test_module_from_text(driver: Driver) -> None:
    module = driver.load(PTX)
    run_store(driver, module)
    driver("cuModuleUnload", module)
    assert driver.result("cuModuleUnload", module) == INVALID_HANDLE
    assert (
        driver.result("cuModuleGetFunction", ctypes.byref(ctypes.c_uint64()), module, b"store")
        == INVALID_HANDLE
    )


def test_names_that_are_not_there(driver: Driver) -> None:
    module = driver.load(PTX)
    value = ctypes.c_uint64()
    assert driver.result("cuModuleGetFunction", ctypes.byref(value), module, b"nothing") == NOT_FOUND
    assert driver.result("cuModuleGetGlobal_v2", ctypes.byref(value), None, module, b"nothing") == NOT_FOUND


def test_variable_has_its_first_value_in_each_module(driver: Driver) -> None:
    address, size = ctypes.c_uint64(), ctypes.c_size_t()
    seen = set()
    for _ in range(2):
        module = driver.load(PTX)
        driver("cuModuleGetGlobal_v2", ctypes.byref(address), ctypes.byref(size), module, b"counter")
        assert size.value == 4
        assert driver.download(address.value, 4) == b"\x07\0\0\0"
        driver.upload(address.value, b"\x09\0\0\0")
        seen.add(address.value)
    assert len(seen) == 2


def test_variables_take_memory_and_give_it_back(driver: Driver) -> None:
    free, _ = driver.memory_info()
    module = driver.load(PTX.replace(b".u32 counter = 7", b".b8 counter[1000000]"))
    assert driver.memory_info()[0] <= free - 1_000_000
    driver("cuModuleUnload", module)
    assert driver.memory_info()[0] == free


def test_functions_are_counted_and_listed(driver: Driver) -> None:
    module = driver.load(PTX)
    count = ctypes.c_uint()
    driver("cuModuleGetFunctionCount", ctypes.byref(count), module)
    assert count.value == 2
    functions = (ctypes.c_uint64 * 2)()
    driver("cuModuleEnumerateFunctions", functions, 2, module)
    names = set()
    for function in functions:
        name, owner = ctypes.c_char_p(), ctypes.c_uint64()
        driver("cuFuncGetName", ctypes.byref(name), function)
        driver("cuFuncGetModule", ctypes.byref(owner), function)
        names.add(name.value)
        assert owner.value == module
    assert names == {b"store", b"spin"}


def test_function_attributes_and_parameters(driver: Driver) -> None:
    function = driver.function(driver.load(PTX), "store")
    offset, size, value = ctypes.c_size_t(), ctypes.c_size_t(), ctypes.c_int()
    for index, expected in enumerate(((0, 8), (8, 4))):
        driver("cuFuncGetParamInfo", function, index, ctypes.byref(offset), ctypes.byref(size))
        assert (offset.value, size.value) == expected
    last = driver.result("cuFuncGetParamInfo", function, 2, ctypes.byref(offset), ctypes.byref(size))
    assert last == INVALID_VALUE
    for attribute, expected_value in ((0, 1024), (1, 0), (3, 0), (5, 75), (6, 75), (8, 48 << 10), (9, -1)):
        driver("cuFuncGetAttribute", ctypes.byref(value), attribute, function)
        assert value.value == expected_value, attribute
    driver("cuFuncSetAttribute", function, 8, 64 << 10)
    driver("cuFuncGetAttribute", ctypes.byref(value), 8, function)
    assert value.value == 64 << 10
    assert driver.result("cuFuncSetAttribute", function, 8, (64 << 10) + 1) == INVALID_VALUE
    assert driver.result("cuFuncSetAttribute", function, 0, 5) == INVALID_VALUE
    driver("cuFuncSetCacheConfig", function, 1)


@pytest.mark.parametrize(
    ("image", "code", "words"),
    [
        (BAD_PTX, INVALID_PTX, "line 6"),
        (b".version 99.0\n.target sm_75\n", UNSUPPORTED_PTX_VERSION, "99.0"),
        (b"// note\n/* more */ .version 8.0\n.target sm_90a, debug\n", INVALID_PTX, "sm_90a"),
        (b"\x7fELF\2\1\1\0" + bytes(64), NO_BINARY_FOR_GPU, "machine code"),
        (b"int main() {}", INVALID_IMAGE, "neither PTX"),
        (b"", INVALID_IMAGE, "neither PTX"),
    ],
)
def test_error_log_says_what_is_the_matter(driver: Driver, image: bytes, code: int, words: str) -> None:
    log = Log()
    module = ctypes.c_uint64()
    result = driver.result("cuModuleLoadDataEx", ctypes.byref(module), image, 2, log.names, log.values)
    assert result == code
    assert words in log.text
    assert log.written == len(log.text)


def test_error_log_is_cut_at_its_size(driver: Driver) -> None:
    log = Log(size=10)
    module = ctypes.c_uint64()
    assert (
        driver.result("cuModuleLoadDataEx", ctypes.byref(module), BAD_PTX, 2, log.names, log.values)
        == INVALID_PTX
    )
    assert len(log.text) == log.written == 9


def test_logs_are_empty_after_success(driver: Driver) -> None:
    info = ctypes.create_string_buffer(b"old", 100)
    names = (ctypes.c_int * 4)(3, 4, 12, 7)
    values = (ctypes.c_void_p * 4)(ctypes.addressof(info), 100, 1, 4)
    driver("cuModuleLoadDataEx", ctypes.byref(ctypes.c_uint64()), PTX, 4, names, values)
    assert info.value == b""
    assert not values[1]


def test_library_has_one_module_per_context(driver: Driver) -> None:
    library = ctypes.c_uint64()
    driver("cuLibraryLoadData", ctypes.byref(library), PTX, None, None, 0, None, None, 0)
    address, size, other = ctypes.c_uint64(), ctypes.c_size_t(), ctypes.c_uint64()
    driver("cuLibraryGetGlobal", ctypes.byref(address), ctypes.byref(size), library.value, b"counter")
    module = driver.get("cuLibraryGetModule", library.value)
    driver("cuModuleGetGlobal_v2", ctypes.byref(other), None, module, b"counter")
    assert (address.value, size.value) == (other.value, 4)
    assert driver.result("cuModuleUnload", module) == NOT_PERMITTED
    run_store(driver, module)

    own = driver.get("cuCtxCreate_v2", 0, 0)
    driver("cuLibraryGetGlobal", ctypes.byref(other), None, library.value, b"counter")
    assert other.value != address.value
    driver("cuCtxDestroy_v2", own)

    driver("cuLibraryUnload", library.value)
    assert driver.result("cuLibraryGetModule", ctypes.byref(other), library.value) == INVALID_HANDLE
    assert driver.result("cuMemcpyHtoD_v2", address.value, b"x", 1) == INVALID_VALUE, "its variables are gone"


def test_kernels_of_a_library(driver: Driver) -> None:
    library = ctypes.c_uint64()
    driver("cuLibraryLoadData", ctypes.byref(library), PTX, None, None, 0, None, None, 0)
    count = ctypes.c_uint()
    driver("cuLibraryGetKernelCount", ctypes.byref(count), library.value)
    assert count.value == 2
    kernels = (ctypes.c_uint64 * 2)()
    driver("cuLibraryEnumerateKernels", kernels, 2, library.value)
    kernel = driver.get("cuLibraryGetKernel", library.value, b"store")
    assert kernel in list(kernels)
    name, owner, value = ctypes.c_char_p(), ctypes.c_uint64(), ctypes.c_int()
    driver("cuKernelGetName", ctypes.byref(name), kernel)
    driver("cuKernelGetLibrary", ctypes.byref(owner), kernel)
    assert (name.value, owner.value) == (b"store", library.value)
    offset, size = ctypes.c_size_t(), ctypes.c_size_t()
    driver("cuKernelGetParamInfo", kernel, 1, ctypes.byref(offset), ctypes.byref(size))
    assert (offset.value, size.value) == (8, 4)
    driver("cuKernelSetAttribute", 8, 50_000, kernel, 0)
    function = driver.get("cuKernelGetFunction", kernel)
    for get, handle, more in (("cuKernelGetAttribute", kernel, (0,)), ("cuFuncGetAttribute", function, ())):
        driver(get, ctypes.byref(value), 8, handle, *more)
        assert value.value == 50_000
    driver("cuKernelSetCacheConfig", kernel, 1, 0)
    memory = driver.allocate(8)
    driver.launch(function, ctypes.c_uint64(memory), ctypes.c_uint32(1))
    driver.launch(kernel, ctypes.c_uint64(memory + 4), ctypes.c_uint32(2))  # a kernel in a function's place
    assert driver.download(memory, 8) == b"\1\0\0\0\2\0\0\0"
    missing = driver.result("cuLibraryGetKernel", ctypes.byref(ctypes.c_uint64()), library.value, b"nothing")
    assert missing == NOT_FOUND
    managed = driver.result(
        "cuLibraryGetManaged", ctypes.byref(ctypes.c_uint64()), None, library.value, b"counter"
    )
    assert managed == NOT_FOUND


def test_library_refuses_what_a_module_refuses(driver: Driver) -> None:
    log = Log()
    library = ctypes.c_uint64()
    result = driver.result(
        "cuLibraryLoadData", ctypes.byref(library), BAD_PTX, log.names, log.values, 2, None, None, 0
    )
    assert result == INVALID_PTX
    assert "line 6" in log.text


CALLER_PTX = b"""
.version 7.5
.target sm_75
.address_size 64
.extern .func (.param .b32 result) twice(.param .b32 x);
.visible .entry store_twice(.param .u64 where, .param .u32 what)
{
    .reg .b64 %rd<3>;
    .reg .b32 %r<3>;
    .param .b32 argument;
    .param .b32 answer;
    ld.param.u64 %rd1, [where];
    cvta.to.global.u64 %rd2, %rd1;
    ld.param.u32 %r1, [what];
    st.param.b32 [argument], %r1;
    call.uni (answer), twice, (argument);
    ld.param.b32 %r2, [answer];
    st.global.u32 [%rd2], %r2;
    ret;
}
"""
CALLED_PTX = b"""
.version 7.5
.target sm_75
.address_size 64
.visible .func (.param .b32 result) twice(.param .b32 x)
{
    .reg .b32 %r<3>;
    ld.param.b32 %r1, [x];
    add.u32 %r2, %r1, %r1;
    st.param.b32 [result], %r2;
    ret;
}
"""


def test_linked_image(driver: Driver, tmp_path: Path) -> None:
    state = link_state(driver)
    driver("cuLinkAddData_v2", state, 1, CALLER_PTX + b"\0", len(CALLER_PTX) + 1, b"caller", 0, None, None)
    (tmp_path / "called.ptx").write_bytes(CALLED_PTX)
    driver("cuLinkAddFile_v2", state, 1, str(tmp_path / "called.ptx").encode(), 0, None, None)
    image, size = ctypes.c_void_p(), ctypes.c_size_t()
    driver("cuLinkComplete", state, ctypes.byref(image), ctypes.byref(size))
    assert image.value is not None
    copied = ctypes.create_string_buffer(ctypes.string_at(image.value, size.value), size.value)
    driver("cuLinkDestroy", state)
    module = driver.load(copied)
    memory = driver.allocate(4)
    driver.launch(driver.function(module, "store_twice"), ctypes.c_uint64(memory), ctypes.c_uint32(21))
    assert driver.download(memory, 4) == b"\x2a\0\0\0"
    for cut in (10, 20, len(copied) - 3):
        damaged = ctypes.create_string_buffer(copied.raw[:cut] + bytes(len(copied) - cut), len(copied))
        assert load_result(driver, damaged) in (INVALID_IMAGE, INVALID_PTX)
    assert driver.result("cuLinkDestroy", state) == INVALID_HANDLE


def link_state(driver: Driver, log: Log | None = None) -> int:
    state = ctypes.c_uint64()
    arguments = (2, log.names, log.values) if log else (0, None, None)
    driver("cuLinkCreate_v2", *arguments, ctypes.byref(state))
    return state.value


def test_linker_reports_errors(driver: Driver) -> None:
    log = Log()
    state = link_state(driver, log)
    assert driver.result("cuLinkComplete", state, ctypes.byref(ctypes.c_void_p()), None) == INVALID_VALUE
    missing = driver.result("cuLinkAddFile_v2", state, 1, b"/no/such/file", 0, None, None)
    assert missing == FILE_NOT_FOUND
    assert "/no/such/file" in log.text
    cubin = driver.result("cuLinkAddData_v2", state, 0, b"\x7fELF", 4, None, 0, None, None)
    assert cubin == NO_BINARY_FOR_GPU
    driver("cuLinkAddData_v2", state, 1, CALLER_PTX, len(CALLER_PTX), b"caller", 0, None, None)
    assert driver.result("cuLinkComplete", state, ctypes.byref(ctypes.c_void_p()), None) == INVALID_PTX
    assert "twice" in log.text
    driver("cuLinkDestroy", state)


# Fatbins


def fatbin(*entries: tuple[int, int, bytes, int, int]) -> bytes:
    """Build a container of (kind, architecture, payload, flags, size when decompressed)."""
    body = b""
    for kind, architecture, payload, flags, size in entries:
        padded = payload + bytes(-len(payload) % 8)
        header = struct.pack("<HHIQII", kind, 0x101, 64, len(padded), len(payload) if size else 0, 0)
        header += struct.pack("<HHI", 0, 9, architecture)
        body += header + struct.pack("<QQQQ", 0, flags, 0, size) + padded
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(body)) + body


def wrapper(container: bytes) -> tuple[Any, Any]:
    """Build the structure that nvcc's programs register; returns it with what it points to."""
    held = ctypes.create_string_buffer(container, len(container))
    return ctypes.create_string_buffer(
        struct.pack("<IIQQ", 0x466243B1, 1, ctypes.addressof(held), 0), 24
    ), held


def lz4_literals(content: bytes) -> bytes:
    """Compress to an LZ4 block of literals only."""
    length = len(content) - 15
    return b"\xf0" + b"\xff" * (length // 255) + bytes([length % 255]) + content


def test_fatbin_with_a_wrapper_and_without(driver: Driver) -> None:
    container = fatbin((1, 75, PTX, 0x11, 0))
    run_store(driver, driver.load(container))
    wrapped, _held = wrapper(container)
    run_store(driver, driver.load(wrapped))
    run_store(driver, driver.get("cuModuleLoadFatBinary", wrapped))


def test_best_architecture_that_runs_is_taken(driver: Driver) -> None:
    bad = b".version 7.0\n.target sm_50\n.nonsense\n"
    too_new = PTX.replace(b"sm_75", b"sm_80")
    entries = [(1, 50, bad, 0, 0), (1, 75, PTX, 0, 0), (1, 80, too_new, 0, 0), (2, 75, b"\x7fELF", 0, 0)]
    run_store(driver, driver.load(fatbin(*entries)))
    run_store(driver, driver.load(fatbin(*reversed(entries))))


def test_fatbin_without_usable_ptx(driver: Driver) -> None:
    log = Log()
    image = fatbin((2, 75, b"\x7fELF", 0, 0), (1, 90, PTX, 0, 0))
    module = ctypes.c_uint64()
    result = driver.result("cuModuleLoadDataEx", ctypes.byref(module), image, 2, log.names, log.values)
    assert result == NO_BINARY_FOR_GPU
    assert "machine code for sm_75, PTX for sm_90" in log.text


def test_lz4_matches_may_overlap_themselves(driver: Driver) -> None:
    spaces = b" " * 300
    # One literal, then a match of 299 bytes that reads what it writes, then the text as literals.
    block = b"\x1f " + b"\1\0" + b"\xff" + bytes([299 - 4 - 15 - 255]) + lz4_literals(PTX)
    run_store(driver, driver.load(fatbin((1, 75, block, 0x2011, len(spaces + PTX)))))


@pytest.mark.parametrize(
    ("block", "size"),
    [
        (b"\x10", 4),  # a literal is missing
        (b"\x10a\0\0", 40),  # a match at distance 0
        (b"\x10a\2\0", 40),  # a match before the start
        (b"\xf0" + b"\xff" * 50, 40),  # a length without end
        (lz4_literals(PTX), len(PTX) - 1),
        (lz4_literals(PTX), len(PTX) + 1),
        (b"", 10),
        (lz4_literals(PTX), 1 << 62),
    ],
)
def test_damaged_lz4_is_refused(driver: Driver, block: bytes, size: int) -> None:
    assert load_result(driver, fatbin((1, 75, block, 0x2011, size))) == INVALID_IMAGE


def zstd_raw(content: bytes) -> bytes:
    """A zstd frame (RFC 8878) of one segment and one raw block."""
    block = struct.pack("<I", len(content) << 3 | 1)[:3]
    return b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", len(content)) + block + content


def test_zstd(driver: Driver) -> None:
    run_store(driver, driver.load(fatbin((1, 75, zstd_raw(PTX), 0x8011, len(PTX)))))


@pytest.mark.parametrize(
    ("frame", "size"),
    [
        (b"\x28\xb5\x2f\xfd" + bytes(20), 1000),
        (zstd_raw(PTX)[:-1], len(PTX)),
        (zstd_raw(PTX), len(PTX) - 1),
        (zstd_raw(PTX), len(PTX) + 1),
    ],
)
def test_damaged_zstd_is_refused(driver: Driver, frame: bytes, size: int) -> None:
    assert load_result(driver, fatbin((1, 75, frame, 0x8011, size))) == INVALID_IMAGE


def test_a_host_without_libzstd_is_told_what_to_install(
    run_script: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    # A library of that name without its functions stands for a host that has none.
    empty = ["cc", "-shared", "-x", "c", "/dev/null", "-o", str(tmp_path / "libzstd.so.1")]
    subprocess.run(empty, check=True)
    image = fatbin((1, 75, zstd_raw(PTX), 0x8011, len(PTX)))
    code = f"""
driver("cuInit", 0)
driver("cuCtxSetCurrent", driver.get("cuDevicePrimaryCtxRetain", 0))
log = ctypes.create_string_buffer(500)
names = (ctypes.c_int * 2)(5, 6)
values = (ctypes.c_void_p * 2)(ctypes.addressof(log), len(log))
print(driver.result("cuModuleLoadDataEx", ctypes.byref(ctypes.c_uint64()), {image!r}, 2, names, values))
print(log.value.decode())
"""
    result = run_script(code, LD_LIBRARY_PATH=str(tmp_path))
    assert result.stdout.startswith(f"{NO_BINARY_FOR_GPU}\n"), result.stderr
    assert "libzstd1" in result.stdout


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (4, b"\1\0\4\0"),  # a header of 4 bytes
        (8, b"\xff" * 8),  # a container without end
        (20, b"\x08\0\0\0"),  # an entry header of 8 bytes
        (20, b"\xff\xff\xff\xff"),
        (24, b"\xff" * 8),  # an entry without end
        (24, b"\xf0\xff\xff\x00\0\0\0\0"),
        (32, b"\xff\xff\xff\xff"),  # a compressed size beyond the entry
    ],
)
def test_damaged_fatbin_is_refused(driver: Driver, offset: int, value: bytes) -> None:
    image = bytearray(fatbin((1, 75, lz4_literals(PTX), 0x2011, len(PTX))))
    image[offset : offset + len(value)] = value
    assert load_result(driver, bytes(image)) == INVALID_IMAGE


CUDA_SOURCE = """
__device__ int counter = 7;
extern "C" __global__ void store(unsigned *where, unsigned what) { *where = what; }
extern "C" __global__ void spin() { while (true) __threadfence(); }
"""


@pytest.fixture(scope="module")
def nvcc() -> str:
    found = shutil.which("nvcc")
    if found is None:
        pytest.skip("nvcc is not installed")
    return found


@pytest.mark.nvcc
@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--no-compress",),
        ("-Xfatbin", "-compress-all"),
        ("-Xfatbin", "--compress-mode=speed", "-Xfatbin", "-compress-all"),
        ("-gencode", "arch=compute_80,code=compute_80"),
    ],
    ids=["default", "uncompressed", "compressed", "lz4", "two architectures"],
)
def test_fatbins_that_nvcc_writes(
    driver: Driver, tmp_path: Path, nvcc: str, options: tuple[str, ...]
) -> None:
    (tmp_path / "k.cu").write_text(CUDA_SOURCE)
    made = tmp_path / "k.fatbin"
    subprocess.run(
        [
            nvcc,
            "--fatbin",
            "-gencode",
            "arch=compute_75,code=compute_75",
            *options,
            "-o",
            made,
            tmp_path / "k.cu",
        ],
        check=True,
        capture_output=True,
    )
    module = driver.load(made.read_bytes())
    run_store(driver, module)
    address, size = ctypes.c_uint64(), ctypes.c_size_t()
    driver("cuModuleGetGlobal_v2", ctypes.byref(address), ctypes.byref(size), module, b"counter")
    assert driver.download(address.value, size.value) == b"\x07\0\0\0"


@pytest.mark.nvcc
def test_cubin_that_nvcc_writes_is_refused(driver: Driver, tmp_path: Path, nvcc: str) -> None:
    (tmp_path / "k.cu").write_text(CUDA_SOURCE)
    subprocess.run(
        [nvcc, "--cubin", "-arch=sm_75", "-o", tmp_path / "k.cubin", tmp_path / "k.cu"],
        check=True,
        capture_output=True,
    )
    assert load_result(driver, (tmp_path / "k.cubin").read_bytes()) == NO_BINARY_FOR_GPU


def test_occupancy(driver: Driver) -> None:
    function = driver.function(driver.load(FILL_PTX), "fill")
    count, grid, block = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    multiprocessors = ctypes.c_int()
    driver("cuDeviceGetAttribute", ctypes.byref(multiprocessors), 16, 0)

    def active(threads: int, shared: int = 0) -> int:
        driver("cuOccupancyMaxActiveBlocksPerMultiprocessor", ctypes.byref(count), function, threads, shared)
        return count.value

    assert active(1024) == 1
    assert active(256) == 4
    assert active(33) == 16, "the limit of blocks"
    assert active(256, 20 << 10) == 3, "the limit of shared memory"
    assert active(256, 60 << 10) == 0, "more than a block may have"
    assert active(2048) == 0
    driver("cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags", ctypes.byref(count), function, 512, 0, 0)
    assert count.value == 2
    size = ctypes.c_size_t()
    driver("cuOccupancyAvailableDynamicSMemPerBlock", ctypes.byref(size), function, 2, 256)
    assert size.value == 32 << 10
    driver("cuOccupancyMaxPotentialBlockSize", ctypes.byref(grid), ctypes.byref(block), function, None, 0, 0)
    assert (grid.value, block.value) == (multiprocessors.value, 1024)
    driver(
        "cuOccupancyMaxPotentialBlockSizeWithFlags",
        ctypes.byref(grid),
        ctypes.byref(block),
        function,
        None,
        0,
        200,
        0,
    )
    assert block.value <= 200
    assert active(block.value) * block.value >= 1000
