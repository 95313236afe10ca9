"""Arrays, mipmapped arrays, texture and surface objects of the driver: what they are, refuse, and how they end."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest
from software_gpu import (
    ILLEGAL_ADDRESS,
    INVALID_HANDLE,
    INVALID_VALUE,
    NOT_SUPPORTED,
    OUT_OF_MEMORY,
    SUCCESS,
    Driver,
    Memcpy2D,
    Memcpy3D,
)

HOST, DEVICE, ARRAY = 1, 2, 3
UINT8, UINT16, FLOAT = 1, 2, 0x20
LAYERED, SURFACE, CUBEMAP, SPARSE = 1, 2, 4, 0x40
AS_INTEGER, NORMALISED, SRGB = 1, 2, 0x10
OF_ARRAY, OF_LEVELS, OF_LINE, OF_PLANE = range(4)


class ArrayDescriptor(ctypes.Structure):
    """CUDA_ARRAY3D_DESCRIPTOR."""

    _fields_ = [
        ("width", ctypes.c_size_t),
        ("height", ctypes.c_size_t),
        ("depth", ctypes.c_size_t),
        ("format", ctypes.c_int),
        ("channels", ctypes.c_uint),
        ("flags", ctypes.c_uint),
    ]


class ResourceDescriptor(ctypes.Structure):
    """CUDA_RESOURCE_DESC, its union as words."""

    _fields_ = [("type", ctypes.c_int), ("words", ctypes.c_uint64 * 16), ("flags", ctypes.c_uint)]


class TextureDescriptor(ctypes.Structure):
    """CUDA_TEXTURE_DESC."""

    _fields_ = [
        ("addressing", ctypes.c_int * 3),
        ("filter", ctypes.c_int),
        ("flags", ctypes.c_uint),
        ("anisotropy", ctypes.c_uint),
        ("level_filter", ctypes.c_int),
        ("level_bias", ctypes.c_float),
        ("least_level", ctypes.c_float),
        ("greatest_level", ctypes.c_float),
        ("border", ctypes.c_float * 4),
        ("reserved", ctypes.c_int * 12),
    ]


READ = b"""
.version 7.5
.target sm_75
.address_size 64
.visible .entry read(.param .u64 object, .param .u64 where, .param .f32 x, .param .f32 y)
{
    .reg .b64 %rd<4>;
    .reg .f32 %f<7>;
    ld.param.u64 %rd1, [object];
    ld.param.u64 %rd2, [where];
    ld.param.f32 %f5, [x];
    ld.param.f32 %f6, [y];
    tex.2d.v4.f32.f32 {%f1, %f2, %f3, %f4}, [%rd1, {%f5, %f6}];
    cvta.to.global.u64 %rd3, %rd2;
    st.global.v4.f32 [%rd3], {%f1, %f2, %f3, %f4};
    ret;
}
.visible .entry write(.param .u64 object, .param .u32 x, .param .u32 y, .param .u32 value)
{
    .reg .b64 %rd<2>;
    .reg .b32 %r<4>;
    ld.param.u64 %rd1, [object];
    ld.param.u32 %r1, [x];
    ld.param.u32 %r2, [y];
    ld.param.u32 %r3, [value];
    sust.b.2d.b32.trap [%rd1, {%r1, %r2}], {%r3};
    ret;
}
"""


def descriptor(width: int, height: int = 0, depth: int = 0, **more: int) -> ArrayDescriptor:
    return ArrayDescriptor(width, height, depth, **({"format": FLOAT, "channels": 1, "flags": 0} | more))


def create(driver: Driver, *shape: int, **more: int) -> int:
    return int(driver.get("cuArray3DCreate_v2", ctypes.byref(descriptor(*shape, **more))))


def resource(kind: int, *words: int) -> ResourceDescriptor:
    return ResourceDescriptor(kind, (ctypes.c_uint64 * 16)(*words), 0)


def form(format_: int, channels: int) -> int:
    """The word of a resource that holds both."""
    return channels << 32 | format_


def texture_result(driver: Driver, what: ResourceDescriptor, **how: Any) -> tuple[int, int]:
    value = ctypes.c_uint64()
    how = how | {"addressing": (ctypes.c_int * 3)(*[how.pop("addressing", 1)] * 3)}
    sampling = TextureDescriptor(**how)
    code = driver.result(
        "cuTexObjectCreate", ctypes.byref(value), ctypes.byref(what), ctypes.byref(sampling), None
    )
    return code, value.value


def texture(driver: Driver, what: ResourceDescriptor, **how: Any) -> int:
    code, value = texture_result(driver, what, **how)
    assert code == SUCCESS
    assert value != 0
    return value


def surface(driver: Driver, array: int) -> int:
    return int(driver.get("cuSurfObjectCreate", ctypes.byref(resource(OF_ARRAY, array))))


def fill(driver: Driver, array: int, content: bytes, row: int, rows: int = 1, planes: int = 1) -> None:
    held = ctypes.create_string_buffer(content, len(content))
    what = Memcpy3D(src_type=HOST, src_host=ctypes.addressof(held), src_pitch=row, src_height=rows)
    what.dst_type, what.dst_array, what.width, what.height, what.depth = ARRAY, array, row, rows, planes
    driver("cuMemcpy3D_v2", ctypes.byref(what))


def content_of(driver: Driver, array: int, row: int, rows: int = 1, planes: int = 1) -> bytes:
    held = ctypes.create_string_buffer(row * rows * planes)
    what = Memcpy3D(dst_type=HOST, dst_host=ctypes.addressof(held), dst_pitch=row, dst_height=rows)
    what.src_type, what.src_array, what.width, what.height, what.depth = ARRAY, array, row, rows, planes
    driver("cuMemcpy3D_v2", ctypes.byref(what))
    return held.raw


def sampled(driver: Driver, function: int, value: int, x: float, y: float = 0.5) -> tuple[float, ...]:
    out = driver.allocate(16)
    driver.launch(
        function, ctypes.c_uint64(value), ctypes.c_uint64(out), ctypes.c_float(x), ctypes.c_float(y)
    )
    got = (ctypes.c_float * 4).from_buffer_copy(driver.download(out, 16))
    driver("cuMemFree_v2", out)
    return tuple(got)


def floats(*values: float) -> bytes:
    return bytes((ctypes.c_float * len(values))(*values))


@pytest.mark.parametrize(
    ("shape", "flags", "stored"),
    [((37,), 0, (1, 1)), ((37, 5), 0, (5, 1)), ((37, 5, 3), 0, (5, 3)), ((37, 0, 4), LAYERED, (1, 4))],
)
def test_an_array_keeps_what_is_copied_to_it(
    driver: Driver, shape: tuple[int, ...], flags: int, stored: tuple[int, int]
) -> None:
    array = create(driver, *shape, format=UINT16, channels=2, flags=flags)
    content = bytes(i * 7 % 251 for i in range(37 * 4 * stored[0] * stored[1]))
    assert content_of(driver, array, 37 * 4, *stored) == bytes(len(content))
    fill(driver, array, content, 37 * 4, *stored)
    assert content_of(driver, array, 37 * 4, *stored) == content
    told = ArrayDescriptor()
    driver("cuArray3DGetDescriptor_v2", ctypes.byref(told), array)
    assert (told.width, told.height, told.depth) == (*shape, *[0] * (3 - len(shape)))
    assert (told.format, told.channels, told.flags) == (UINT16, 2, flags)


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (descriptor(0), INVALID_VALUE),
        (descriptor(131073), INVALID_VALUE),
        (descriptor(8, 65537), INVALID_VALUE),
        (descriptor(8, 8, 16385), INVALID_VALUE),
        (descriptor(8, 0, 8), INVALID_VALUE),
        (descriptor(8, 8, 2049, flags=LAYERED), INVALID_VALUE),
        (descriptor(8, 8, 0, flags=LAYERED), INVALID_VALUE),
        (descriptor(8, channels=3), INVALID_VALUE),
        (descriptor(8, format=7), INVALID_VALUE),
        (descriptor(8, flags=1 << 12), INVALID_VALUE),
        (descriptor(8, 8, 6, flags=CUBEMAP), NOT_SUPPORTED),
        (descriptor(8, 8, flags=SPARSE), NOT_SUPPORTED),
        (descriptor(8, 8, format=0xC0), NOT_SUPPORTED),
        (descriptor(16384, 16384, 16384), OUT_OF_MEMORY),
    ],
)
def test_arrays_that_cannot_be(driver: Driver, wrong: ArrayDescriptor, code: int) -> None:
    handle = ctypes.c_uint64()
    assert driver.result("cuArray3DCreate_v2", ctypes.byref(handle), ctypes.byref(wrong)) == code


def test_memory_of_arrays_counts_and_comes_back(driver: Driver) -> None:
    free, _ = driver.memory_info()
    array = create(driver, 1024, 256)
    assert driver.memory_info()[0] == free - (1 << 20)
    whole = int(driver.get("cuMipmappedArrayCreate", ctypes.byref(descriptor(256, 256)), 9))
    assert free - (1 << 20) - driver.memory_info()[0] >= 4 * 256 * 256 * 4 // 3
    driver("cuMipmappedArrayDestroy", whole)
    driver("cuArrayDestroy", array)
    assert driver.memory_info()[0] == free
    assert driver.result("cuArrayDestroy", array) == INVALID_HANDLE
    create(driver, 1024, 256)
    driver("cuDevicePrimaryCtxReset_v2", 0)
    driver("cuCtxSetCurrent", driver.get("cuDevicePrimaryCtxRetain", 0))
    assert driver.memory_info()[0] == free


def test_levels_are_arrays_of_half_the_size(driver: Driver) -> None:
    whole = int(driver.get("cuMipmappedArrayCreate", ctypes.byref(descriptor(20, 5, 3)), 5))
    sizes = []
    for level in range(5):
        array = int(driver.get("cuMipmappedArrayGetLevel", whole, level))
        told = ArrayDescriptor()
        driver("cuArray3DGetDescriptor_v2", ctypes.byref(told), array)
        sizes.append((told.width, told.height, told.depth))
        fill(
            driver,
            array,
            bytes([level]) * (told.width * told.height * told.depth * 4),
            told.width * 4,
            told.height,
            told.depth,
        )
    assert sizes == [(20, 5, 3), (10, 2, 1), (5, 1, 1), (2, 1, 1), (1, 1, 1)]
    for level, (width, height, depth) in enumerate(sizes):
        array = int(driver.get("cuMipmappedArrayGetLevel", whole, level))
        assert set(content_of(driver, array, width * 4, height, depth)) == {level}
    assert driver.result("cuArrayDestroy", array) == INVALID_HANDLE
    handle = ctypes.c_uint64()
    assert driver.result("cuMipmappedArrayGetLevel", ctypes.byref(handle), whole, 5) == INVALID_VALUE
    for levels in (0, 6):
        made = driver.result(
            "cuMipmappedArrayCreate", ctypes.byref(handle), ctypes.byref(descriptor(20, 5, 3)), levels
        )
        assert made == INVALID_VALUE
    driver("cuMipmappedArrayDestroy", whole)
    assert (
        driver.result("cuArray3DGetDescriptor_v2", ctypes.byref(ArrayDescriptor()), array) == INVALID_HANDLE
    )


def test_copies_of_parts_of_arrays(driver: Driver) -> None:
    array = create(driver, 16, 4, format=UINT8)
    fill(driver, array, bytes(range(64)), 16, 4)
    memory = driver.allocate(4096)
    what = Memcpy2D(src_type=ARRAY, src_array=array, src_x=3, src_y=1, width=5, height=2)
    what.dst_type, what.dst_device, what.dst_pitch = DEVICE, memory, 64
    driver("cuMemcpy2D_v2", ctypes.byref(what))
    assert driver.download(memory, 5) == bytes(range(19, 24))
    assert driver.download(memory + 64, 5) == bytes(range(35, 40))
    for change in ({"src_x": 12}, {"src_y": 3}, {"width": 17}, {"height": 5}, {"src_x": 1 << 63}):
        for name, value in change.items():
            setattr(what, name, value)
        assert driver.result("cuMemcpy2D_v2", ctypes.byref(what)) == INVALID_VALUE, change
        what.src_x, what.src_y, what.width, what.height = 3, 1, 5, 2
    what.src_array = array + 256
    assert driver.result("cuMemcpy2D_v2", ctypes.byref(what)) == INVALID_HANDLE


def test_a_texture_reads_arrays_lines_and_planes(driver: Driver) -> None:
    read = driver.function(driver.load(READ), "read")
    array = create(driver, 4, 2, channels=2)
    fill(driver, array, floats(*range(16)), 32, 2)
    value = texture(driver, resource(OF_ARRAY, array))
    assert sampled(driver, read, value, 2.9, 1.1)[:2] == (12, 13)
    smooth = texture(driver, resource(OF_ARRAY, array), filter=1)
    assert sampled(driver, read, smooth, 2.0, 1.0)[:2] == (7, 8)
    plane = driver.allocate(1024)
    driver.upload(plane, floats(1, 2, 3))
    driver.upload(plane + 96, floats(4, 5, 6))
    flat = texture(driver, resource(OF_PLANE, plane, form(FLOAT, 1), 3, 2, 96))
    assert sampled(driver, read, flat, 1.5, 1.5)[0] == 5
    bytes_ = driver.allocate(512)
    driver.upload(bytes_, bytes([0, 51, 255]))
    share = texture(driver, resource(OF_LINE, bytes_, form(UINT8, 1), 3))
    assert sampled(driver, read, share, 1.0)[0] == pytest.approx(0.2)
    turned = texture(driver, resource(OF_ARRAY, array), addressing=0, flags=NORMALISED)
    assert sampled(driver, read, turned, 1.3, -0.6)[:2] == (2, 3)


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({"filter": 2}, INVALID_VALUE),
        ({"addressing": 4}, INVALID_VALUE),
        ({"flags": 1 << 9}, INVALID_VALUE),
        ({"flags": SRGB}, NOT_SUPPORTED),
        ({"filter": 1, "flags": AS_INTEGER}, INVALID_VALUE),
        ({"filter": 1}, SUCCESS),
    ],
)
def test_ways_of_sampling_that_cannot_be(driver: Driver, how: dict[str, int], code: int) -> None:
    array = create(driver, 8, 8, format=UINT8)
    assert texture_result(driver, resource(OF_ARRAY, array), **how)[0] == code


def test_resources_that_cannot_be(driver: Driver) -> None:
    memory = driver.allocate(8192)
    wrong = [
        (resource(OF_LINE, memory + 4, form(FLOAT, 1), 64), INVALID_VALUE),
        (resource(OF_LINE, memory, form(FLOAT, 1), 8196), INVALID_VALUE),
        (resource(OF_LINE, memory, form(FLOAT, 1), 3), INVALID_VALUE),
        (resource(OF_LINE, memory, form(FLOAT, 3), 64), INVALID_VALUE),
        (resource(OF_LINE, 0, form(FLOAT, 1), 64), INVALID_VALUE),
        (resource(OF_PLANE, memory, form(FLOAT, 1), 9, 4, 32), INVALID_VALUE),
        (resource(OF_PLANE, memory, form(FLOAT, 1), 8, 4, 33), INVALID_VALUE),
        (resource(OF_PLANE, memory, form(FLOAT, 1), 8, 400, 32), INVALID_VALUE),
        (resource(OF_PLANE, memory, form(FLOAT, 1), 0, 4, 32), INVALID_VALUE),
        (resource(OF_ARRAY, memory), INVALID_HANDLE),
        (resource(OF_LEVELS, create(driver, 4)), INVALID_HANDLE),
        (resource(4), INVALID_VALUE),
    ]
    for what, code in wrong:
        assert texture_result(driver, what)[0] == code, (what.type, list(what.words)[:5])
    plain = create(driver, 4, 4)
    value = ctypes.c_uint64()
    made = driver.result("cuSurfObjectCreate", ctypes.byref(value), ctypes.byref(resource(OF_ARRAY, plain)))
    assert made == INVALID_VALUE  # not made for surfaces
    view = ctypes.create_string_buffer(256)
    arguments = (ctypes.byref(resource(OF_ARRAY, plain)), ctypes.byref(TextureDescriptor()), view)
    assert driver.result("cuTexObjectCreate", ctypes.byref(value), *arguments) == NOT_SUPPORTED


def test_an_object_tells_what_it_was_made_of(driver: Driver) -> None:
    array = create(driver, 4, 4, flags=SURFACE)
    value = texture(driver, resource(OF_ARRAY, array), addressing=3, border=(ctypes.c_float * 4)(1, 2, 3, 4))
    what, how = ResourceDescriptor(), TextureDescriptor()
    driver("cuTexObjectGetResourceDesc", ctypes.byref(what), value)
    driver("cuTexObjectGetTextureDesc", ctypes.byref(how), value)
    assert (what.type, what.words[0]) == (OF_ARRAY, array)
    assert (how.addressing[2], list(how.border)) == (3, [1, 2, 3, 4])
    written = surface(driver, array)
    driver("cuSurfObjectGetResourceDesc", ctypes.byref(what), written)
    assert what.words[0] == array
    assert driver.result("cuTexObjectGetResourceDesc", ctypes.byref(what), written) == INVALID_VALUE
    assert driver.result("cuSurfObjectDestroy", value) == INVALID_VALUE
    driver("cuTexObjectDestroy", value)
    driver("cuSurfObjectDestroy", written)
    assert driver.result("cuTexObjectDestroy", value) == INVALID_VALUE
    assert driver.result("cuTexObjectGetTextureDesc", ctypes.byref(how), value) == INVALID_VALUE


def test_a_surface_is_written_and_a_texture_of_it_sees_it(driver: Driver) -> None:
    module = driver.load(READ)
    array = create(driver, 4, 4, flags=SURFACE)
    value, written = texture(driver, resource(OF_ARRAY, array)), surface(driver, array)
    bits = ctypes.c_uint32.from_buffer_copy(floats(2.5))
    driver.launch(
        driver.function(module, "write"),
        ctypes.c_uint64(written),
        ctypes.c_uint32(8),
        ctypes.c_uint32(3),
        bits,
    )
    assert sampled(driver, driver.function(module, "read"), value, 2.5, 3.5)[0] == 2.5
    assert content_of(driver, array, 16, 4)[3 * 16 + 8 :][:4] == floats(2.5)


def test_an_object_ends_after_the_work_that_uses_it(driver: Driver) -> None:
    read = driver.function(driver.load(READ), "read")
    array = create(driver, 4, 4)
    fill(driver, array, floats(*[3] * 16), 16, 4)
    value = texture(driver, resource(OF_ARRAY, array))
    out = driver.allocate(16)
    arguments = (ctypes.c_uint64(value), ctypes.c_uint64(out), ctypes.c_float(0.5), ctypes.c_float(0.5))
    with driver.gate() as open_:
        driver.launch(read, *arguments)
        open_()
        driver("cuTexObjectDestroy", value)
        driver("cuArrayDestroy", array)
    assert driver.download(out, 4) == floats(3)
    driver.launch(read, *arguments)
    assert driver.result("cuCtxSynchronize") == ILLEGAL_ADDRESS


def test_a_context_takes_its_objects_with_it(driver: Driver) -> None:
    array = create(driver, 4, 4)
    value = texture(driver, resource(OF_ARRAY, array))
    driver("cuDevicePrimaryCtxReset_v2", 0)
    driver("cuCtxSetCurrent", driver.get("cuDevicePrimaryCtxRetain", 0))
    assert driver.result("cuTexObjectDestroy", value) == INVALID_VALUE
    assert driver.result("cuArrayDestroy", array) == INVALID_HANDLE


def test_the_limits_it_tells_are_those_it_keeps(driver: Driver) -> None:
    width = driver.get("cuDeviceGetAttribute", 21, 0, kind=ctypes.c_int)  # MAXIMUM_TEXTURE1D_WIDTH
    create(driver, width, format=UINT8)
    handle = ctypes.c_uint64()
    wider = descriptor(width + 1, format=UINT8)
    assert driver.result("cuArray3DCreate_v2", ctypes.byref(handle), ctypes.byref(wider)) == INVALID_VALUE
    texels = driver.get("cuDeviceGetTexture1DLinearMaxWidth", FLOAT, 4, 0)
    assert texels == driver.get("cuDeviceGetAttribute", 69, 0, kind=ctypes.c_int)
