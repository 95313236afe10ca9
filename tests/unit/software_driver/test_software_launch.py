"""Launches: how parameters arrive, what is refused, what a fault does to the context, printing."""

from __future__ import annotations

import ctypes
import struct
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from software_gpu import (
    COOPERATIVE_LAUNCH_TOO_LARGE,
    FILL_PTX,
    ILLEGAL_ADDRESS,
    INVALID_CLUSTER_SIZE,
    INVALID_HANDLE,
    INVALID_VALUE,
    LAUNCH_FAILED,
    LAUNCH_OUT_OF_RESOURCES,
    MISALIGNED_ADDRESS,
    NOT_READY,
    NOT_SUPPORTED,
    PTX,
    CudaError,
    Driver,
    LaunchAttribute,
    LaunchConfig,
    parameter_array,
    print_function,
    stream_callback,
)

Script = Callable[..., subprocess.CompletedProcess[str]]

TRAP_PTX = b"""
.version 7.5
.target sm_75
.address_size 64
.visible .entry trap() { trap; }
"""

PRINT_PTX = b"""
.version 7.5
.target sm_75
.address_size 64
.extern .func (.param .b32 status) vprintf(.param .b64 format, .param .b64 arguments);
.global .align 1 .b8 text[11] = {118, 97, 108, 117, 101, 32, 37, 100, 10, 0, 0};
.visible .entry print(.param .u32 value)
{
    .local .align 8 .b8 packed[8];
    .reg .b64 %rd<5>;
    .reg .b32 %r<3>;
    .param .b64 format;
    .param .b64 arguments;
    .param .b32 status;
    ld.param.u32 %r1, [value];
    mov.u64 %rd1, packed;
    cvta.local.u64 %rd2, %rd1;
    st.local.u32 [%rd1], %r1;
    mov.u64 %rd3, text;
    cvta.global.u64 %rd4, %rd3;
    st.param.b64 [format], %rd4;
    st.param.b64 [arguments], %rd2;
    call.uni (status), vprintf, (format, arguments);
    ret;
}
"""

BOUNDED_PTX = b"""
.version 7.5
.target sm_75
.address_size 64
.visible .entry bounded() .maxntid 64, 1, 1 { ret; }
.visible .entry exact() .reqntid 8, 2, 1 { ret; }
.visible .entry shared_memory()
{
    .shared .align 4 .b8 fixed[1024];
    ret;
}
"""


def store_function(driver: Driver) -> int:
    return driver.function(driver.load(PTX), "store")


def config(
    grid: tuple[int, int, int], block: tuple[int, int, int], *attributes: LaunchAttribute
) -> LaunchConfig:
    array = (LaunchAttribute * len(attributes))(*attributes)
    return LaunchConfig(
        grid=(ctypes.c_uint * 3)(*grid),
        block=(ctypes.c_uint * 3)(*block),
        attributes=array,
        attribute_count=len(attributes),
    )


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


def test_every_thread_runs_once(driver: Driver) -> None:
    fill = driver.function(driver.load(FILL_PTX), "fill")
    memory = driver.allocate(4 * 1000)
    parameters = ctypes.c_uint64(memory), ctypes.c_uint32(5), ctypes.c_uint32(1000)
    driver.launch(fill, *parameters, grid=(8, 1, 1), block=(128, 1, 1))
    assert driver.download(memory, 4000) == words(*range(5, 1005))


def test_parameters_belong_to_the_caller_after_the_return(driver: Driver) -> None:
    store, memory = store_function(driver), driver.allocate(4)
    value = ctypes.c_uint32(1)
    with driver.gate() as open_gate:
        driver.launch(store, ctypes.c_uint64(memory), value)
        value.value = 2
        open_gate()
    assert driver.download(memory, 4) == words(1)


def test_parameters_in_a_buffer(driver: Driver) -> None:
    store, memory = store_function(driver), driver.allocate(4)
    packed = ctypes.create_string_buffer(struct.pack("<QI", memory, 77), 12)
    size = ctypes.c_size_t(12)
    extra = (ctypes.c_void_p * 5)(1, ctypes.addressof(packed), 2, ctypes.addressof(size), 0)
    driver("cuLaunchKernel", store, 1, 1, 1, 1, 1, 1, 0, 0, None, extra)
    assert driver.download(memory, 4) == words(77)
    size.value = 11
    assert driver.result("cuLaunchKernel", store, 1, 1, 1, 1, 1, 1, 0, 0, None, extra) == INVALID_VALUE
    assert driver.result("cuLaunchKernel", store, 1, 1, 1, 1, 1, 1, 0, 0, None, None) == INVALID_VALUE


def test_launch_with_attributes(driver: Driver) -> None:
    store, memory = store_function(driver), driver.allocate(4)
    parameters = parameter_array(ctypes.c_uint64(memory), ctypes.c_uint32(3))
    priority = LaunchAttribute(id=8, value=(ctypes.c_uint32 * 16)(1))
    one_cluster = LaunchAttribute(id=4, value=(ctypes.c_uint32 * 16)(1, 1, 1))
    good = config((1, 1, 1), (1, 1, 1), priority, one_cluster, LaunchAttribute(id=0))
    driver("cuLaunchKernelEx", ctypes.byref(good), store, parameters, None)
    assert driver.download(memory, 4) == words(3)
    for number, value, code in ((4, 2, INVALID_CLUSTER_SIZE), (6, 1, NOT_SUPPORTED), (7, 0, NOT_SUPPORTED)):
        attribute = LaunchAttribute(id=number, value=(ctypes.c_uint32 * 16)(value, 1, 1))
        bad = config((1, 1, 1), (1, 1, 1), attribute)
        assert driver.result("cuLaunchKernelEx", ctypes.byref(bad), store, parameters, None) == code


@pytest.mark.parametrize(
    ("grid", "block", "shared"),
    [
        ((0, 1, 1), (1, 1, 1), 0),
        ((1, 65536, 1), (1, 1, 1), 0),
        ((1 << 31, 1, 1), (1, 1, 1), 0),
        ((1, 1, 1), (0, 1, 1), 0),
        ((1, 1, 1), (1025, 1, 1), 0),
        ((1, 1, 1), (1, 1, 65), 0),
        ((1, 1, 1), (64, 32, 1), 0),
        ((1, 1, 1), (1, 1, 1), (48 << 10) + 1),
    ],
)
def test_impossible_shapes_are_refused(
    driver: Driver, grid: tuple[int, int, int], block: tuple[int, int, int], shared: int
) -> None:
    store, memory = store_function(driver), driver.allocate(4)
    with pytest.raises(CudaError) as caught:
        driver.launch(
            store, ctypes.c_uint64(memory), ctypes.c_uint32(1), grid=grid, block=block, shared=shared
        )
    assert caught.value.code == INVALID_VALUE
    driver("cuCtxSynchronize")


def test_bounds_of_a_kernel(driver: Driver) -> None:
    module = driver.load(BOUNDED_PTX)
    bounded, exact, shared = (driver.function(module, name) for name in ("bounded", "exact", "shared_memory"))
    driver.launch(bounded, block=(64, 1, 1))
    driver.launch(exact, block=(8, 2, 1))
    driver.launch(shared, shared=47 << 10)

    def refused(function: int, **shape: Any) -> int:
        with pytest.raises(CudaError) as caught:
            driver.launch(function, **shape)
        return caught.value.code

    assert refused(bounded, block=(65, 1, 1)) == LAUNCH_OUT_OF_RESOURCES
    assert refused(exact, block=(2, 8, 1)) == INVALID_VALUE
    assert refused(shared, shared=48 << 10) == INVALID_VALUE
    driver("cuFuncSetAttribute", shared, 8, 63 << 10)
    driver.launch(shared, shared=63 << 10)
    driver("cuCtxSynchronize")


def test_cooperative_launches_fit_on_the_gpu_at_once(driver: Driver) -> None:
    store, memory = store_function(driver), driver.allocate(4)
    parameters = parameter_array(ctypes.c_uint64(memory), ctypes.c_uint32(9))
    driver("cuLaunchCooperativeKernel", store, 1, 1, 1, 1, 1, 1, 0, 0, parameters)
    assert driver.download(memory, 4) == words(9)
    too_many = driver.result("cuLaunchCooperativeKernel", store, 100_000, 1, 1, 1, 1, 1, 0, 0, parameters)
    assert too_many == COOPERATIVE_LAUNCH_TOO_LARGE
    attribute = LaunchAttribute(id=2, value=(ctypes.c_uint32 * 16)(1))
    too_large = config((100_000, 1, 1), (1, 1, 1), attribute)
    result = driver.result("cuLaunchKernelEx", ctypes.byref(too_large), store, parameters, None)
    assert result == COOPERATIVE_LAUNCH_TOO_LARGE


BARRIER_PTX = b"""
.version 7.5
.target sm_75
.address_size 64
.visible .entry barrier(.param .u64 counter, .param .u32 blocks)
{
    .reg .pred %p<2>;
    .reg .b64 %rd<3>;
    .reg .b32 %r<4>;
    ld.param.u64 %rd1, [counter];
    cvta.to.global.u64 %rd2, %rd1;
    ld.param.u32 %r1, [blocks];
    atom.global.add.u32 %r2, [%rd2], 1;
$wait:
    ld.volatile.global.u32 %r3, [%rd2];
    setp.lt.u32 %p1, %r3, %r1;
    @%p1 bra $wait;
    ret;
}
"""


def test_blocks_of_a_cooperative_launch_wait_for_each_other(driver: Driver) -> None:
    function = driver.function(driver.load(BARRIER_PTX), "barrier")
    per_multiprocessor, multiprocessors = ctypes.c_int(), ctypes.c_int()
    driver("cuOccupancyMaxActiveBlocksPerMultiprocessor", ctypes.byref(per_multiprocessor), function, 32, 0)
    driver("cuDeviceGetAttribute", ctypes.byref(multiprocessors), 16, 0)
    blocks = per_multiprocessor.value * multiprocessors.value
    counter = driver.allocate(4)
    parameters = parameter_array(ctypes.c_uint64(counter), ctypes.c_uint32(blocks))
    driver("cuLaunchCooperativeKernel", function, blocks, 1, 1, 32, 1, 1, 0, 0, parameters)
    assert driver.download(counter, 4) == words(blocks * 32)


def test_unknown_functions_are_refused(driver: Driver) -> None:
    module = driver.load(PTX)
    store = driver.function(module, "store")
    driver("cuModuleUnload", module)
    for handle in (store, module, 0, 0x1234567):
        assert driver.result("cuLaunchKernel", handle, 1, 1, 1, 1, 1, 1, 0, 0, None, None) == INVALID_HANDLE


def test_module_may_be_unloaded_while_its_kernel_waits(driver: Driver) -> None:
    memory, module = driver.allocate(4), driver.load(PTX)
    store = driver.function(module, "store")
    with driver.gate() as open_gate:
        driver.launch(store, ctypes.c_uint64(memory), ctypes.c_uint32(8))
        driver("cuModuleUnload", module)
        open_gate()
    assert driver.download(memory, 4) == words(8)


# Faults


@pytest.mark.parametrize(
    ("address", "code"),
    [(8, ILLEGAL_ADDRESS), (0x7FFF00000000, ILLEGAL_ADDRESS), (None, MISALIGNED_ADDRESS)],
)
def test_fault_is_sticky_until_the_reset(driver: Driver, address: int | None, code: int) -> None:
    store, memory = store_function(driver), driver.allocate(64)
    stream, event = driver.get("cuStreamCreate", 0), driver.get("cuEventCreate", 0)
    where = memory + 2 if address is None else address
    driver.launch(store, ctypes.c_uint64(where), ctypes.c_uint32(1), stream=stream)
    assert driver.result("cuStreamSynchronize", stream) == code
    value = ctypes.c_uint64()
    for function, arguments in (
        ("cuCtxSynchronize", ()),
        ("cuStreamSynchronize", (0,)),
        ("cuStreamQuery", (stream,)),
        ("cuEventRecord", (event, 0)),
        ("cuMemAlloc_v2", (ctypes.byref(value), 16)),
        ("cuMemFree_v2", (memory,)),
        ("cuMemcpyHtoD_v2", (memory, b"x", 1)),
        ("cuModuleLoadData", (ctypes.byref(value), PTX)),
        ("cuLaunchKernel", (store, 1, 1, 1, 1, 1, 1, 0, 0, None, None)),
    ):
        assert driver.result(function, *arguments) == code, function
    driver("cuDevicePrimaryCtxReset_v2", 0)
    driver("cuCtxSetCurrent", driver.get("cuDevicePrimaryCtxRetain", 0))
    memory = driver.allocate(64)
    driver.launch(store_function(driver), ctypes.c_uint64(memory), ctypes.c_uint32(1))
    assert driver.download(memory, 4) == words(1)


def test_work_after_a_fault_is_left_out_and_events_pass(driver: Driver) -> None:
    store = store_function(driver)
    target = driver.get("cuMemHostAlloc", 4, 0)
    event = driver.get("cuEventCreate", 0)
    told: list[int] = []

    @stream_callback
    def callback(stream: int, status: int, user: int) -> None:
        told.append(status)

    with driver.gate() as open_gate:
        driver.launch(store, ctypes.c_uint64(8), ctypes.c_uint32(1))
        driver.launch(store, ctypes.c_uint64(target), ctypes.c_uint32(5))
        driver("cuStreamAddCallback", 0, callback, None, 0)
        driver("cuEventRecord", event, 0)
        assert driver.result("cuEventQuery", event) == NOT_READY
        open_gate()
        assert driver.result("cuEventSynchronize", event) == ILLEGAL_ADDRESS
    assert ctypes.string_at(target, 4) == bytes(4)
    assert told == [ILLEGAL_ADDRESS]


def test_fault_of_one_context_leaves_another_alone(driver: Driver) -> None:
    primary = driver.get("cuCtxGetCurrent")
    own = driver.get("cuCtxCreate_v2", 0, 0)
    driver.launch(store_function(driver), ctypes.c_uint64(8), ctypes.c_uint32(1))
    assert driver.result("cuCtxSynchronize") == ILLEGAL_ADDRESS
    driver("cuCtxSetCurrent", primary)
    driver("cuCtxSynchronize")
    driver("cuCtxDestroy_v2", own)


def test_trap(driver: Driver) -> None:
    driver.launch(driver.function(driver.load(TRAP_PTX), "trap"))
    assert driver.result("cuCtxSynchronize") == LAUNCH_FAILED


def test_memory_without_access_faults(driver: Driver) -> None:
    memory = driver.allocate(4096)
    driver.launch(store_function(driver), ctypes.c_uint64(memory + 4096), ctypes.c_uint32(1))
    assert driver.result("cuCtxSynchronize") == ILLEGAL_ADDRESS


def test_detail_of_a_fault_is_printed_once(run_script: Script) -> None:
    done = run_script("""
driver("cuInit", 0)
driver("cuCtxSetCurrent", driver.get("cuDevicePrimaryCtxRetain", 0))
store = driver.function(driver.load(PTX), "store")
with driver.gate() as open_gate:
    for _ in range(2):
        driver.launch(store, ctypes.c_uint64(0x40), ctypes.c_uint32(1))
    open_gate()
print(driver.result("cuCtxSynchronize"), driver.result("cuCtxSynchronize"))
""")
    assert done.stdout.split() == ["700", "700"]
    lines = [line for line in done.stderr.splitlines() if line.startswith("software GPU: ")]
    assert len(lines) == 1, done.stderr
    assert "store" in lines[0]
    assert "0x40" in lines[0]


# Printing


def test_printed_text_goes_to_the_function_that_was_set(driver: Driver) -> None:
    printed: list[bytes] = []

    @print_function
    def take(text: Any, count: int, user: int) -> None:
        printed.append(ctypes.string_at(text, count))

    print_kernel = driver.function(driver.load(PRINT_PTX), "print")
    driver.library.tfusionSoftwareSetPrint(take, None)
    try:
        driver.launch(print_kernel, ctypes.c_uint32(42))
        driver("cuCtxSynchronize")
    finally:
        driver.library.tfusionSoftwareSetPrint(None, None)
    assert b"".join(printed) == b"value 42\n"


def test_printed_text_goes_to_standard_output(run_script: Script) -> None:
    done = run_script(f"""
driver("cuInit", 0)
driver("cuCtxSetCurrent", driver.get("cuDevicePrimaryCtxRetain", 0))
driver.launch(driver.function(driver.load({PRINT_PTX!r}), "print"), ctypes.c_uint32(7))
driver("cuCtxSynchronize")
""")
    assert done.stdout == "value 7\n"
