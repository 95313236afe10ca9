"""Arrays, textures and copies of boxes, asked for as the hook never would."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gpu_server.client import OpenedSlice

MIB = 1 << 20
INVALID_VALUE, OUT_OF_MEMORY, INVALID_HANDLE = 1, 2, 400
FLOAT, LAYERED = 0x20, 1
OF_ARRAY, OF_LEVELS, OF_LINE, OF_PLANE = range(4)
Client = Any


@pytest.fixture
def opened(host: Any) -> Iterator[OpenedSlice]:
    """A slice of this test's own, given back at its end."""
    one = host.open(32 * MIB)
    yield one
    host.control.close_slice(one.slice_id, one.token)


@pytest.fixture
def client(host: Any, opened: OpenedSlice) -> Client:
    """A client with a session under that slice."""
    return host.client(opened)


def create(
    client: Client, place: int = 0, width: int = 64, height: int = 32, depth: int = 0, **more: int
) -> int:
    fields = {"format": FLOAT, "channels": 1, "flags": 0} | more
    handle = client.layout.handle("array", place)
    return int(client.ask("ArrayCreate", array=handle, width=width, height=height, depth=depth, **fields))


def levels(client: Client, count: int = 3, **more: int) -> int:
    fields = {"width": 64, "height": 32, "depth": 0, "format": FLOAT, "channels": 1, "flags": 0} | more
    handle = client.layout.handle("mipmapped_array")
    return int(client.ask("MipmappedArrayCreate", mipmapped=handle, levels=count, **fields))


def at(x: int, y: int = 0, z: int = 0) -> bytes:
    return struct.pack("<3Q", x, y, z)


def texture(client: Client, **fields: int | bytes) -> int:
    return int(client.ask("TextureCreate", **fields))


def refused(client: Client) -> int:
    """What the asynchronous commands before are told to have come to."""
    return int(client.ask("ContextSynchronize"))


def test_arrays_count_on_the_slices_account_and_are_given_back(host: Any) -> None:
    opened = host.open(16 * MIB)
    one, two = host.client(opened), host.client(opened)

    def used() -> int:
        (listed,) = [s for s in host.control.list_slices() if s.slice_id == opened.slice_id]
        return int(listed.used_bytes)

    assert create(one, width=1024, height=1024) == 0  # 4 MiB
    assert 4 * MIB <= used() <= 6 * MIB
    assert create(two, width=2048, height=1024) == 0  # 8 MiB
    assert create(one, 1, width=1024, height=1024, channels=2) == OUT_OF_MEMORY
    assert one.ask("MemoryCommit", address=one.layout["device_arena"], bytes=6 * MIB) == OUT_OF_MEMORY
    assert levels(two, width=1024, height=1024, count=11) == OUT_OF_MEMORY
    assert one.ask("ArrayDestroy", array=one.layout.handle("array")) == 0
    assert 8 * MIB <= used() <= 10 * MIB
    assert levels(one, width=1024, height=512, count=10) == 0
    assert one.ask("MipmappedArrayDestroy", mipmapped=one.layout.handle("mipmapped_array")) == 0
    assert 8 * MIB <= used() <= 10 * MIB
    assert two.ask("ContextReset") == 0
    assert used() == 0
    assert create(one, width=1024, height=1024) == 0
    one.close()
    host.session_ended(opened.slice_id)
    host.until(lambda: "given back" if used() == 0 else "")
    host.control.close_slice(opened.slice_id, opened.token)


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 0},
        {"width": 1 << 19},
        {"height": 1 << 63},
        {"depth": 2**64 - 1},
        {"channels": 3},
        {"channels": 1 << 30},
        {"format": 0},
        {"format": 0xB0},
        {"flags": 0x40},
        {"flags": 1 << 31},
    ],
)
def test_an_array_that_cannot_be_is_refused(wrong: dict[str, int], client: Client) -> None:
    assert create(client, **wrong) == INVALID_VALUE
    assert levels(client, **wrong) == INVALID_VALUE
    assert create(client) == 0
    assert client.alive()


def test_levels_are_bounded_and_belong_to_their_array(client: Client) -> None:
    assert levels(client, 0) == INVALID_VALUE
    assert levels(client, 20) == INVALID_VALUE
    assert levels(client, 2**32 - 1) == INVALID_VALUE
    assert levels(client, 3) == 0
    whole, level = client.layout.handle("mipmapped_array"), client.layout.handle("array", 7)
    assert client.ask("MipmappedArrayGetLevel", mipmapped=whole, array=level, level=3) == INVALID_VALUE
    assert client.ask("MipmappedArrayGetLevel", mipmapped=whole, array=level, level=2**31) == INVALID_VALUE
    assert client.ask("MipmappedArrayGetLevel", mipmapped=whole, array=level, level=2) == 0
    assert texture(client, resource=OF_ARRAY, array=level) == 0
    assert client.ask("MipmappedArrayDestroy", mipmapped=whole) == 0
    assert texture(client, resource=OF_ARRAY, array=level) == INVALID_HANDLE
    assert texture(client, resource=OF_LEVELS, array=whole) == INVALID_HANDLE
    assert client.alive()


BOX = {"width": 64, "height": 4, "depth": 1, "stream": 1}
OUTSIDE: dict[str, dict[str, Any]] = {
    "too wide": {"width": 260},
    "too high": {"height": 33},
    "too deep": {"depth": 3},
    "beyond the right": {"to_at": at(200)},
    "beyond the bottom": {"to_at": at(0, 30)},
    "beyond the last plane": {"to_at": at(0, 0, 2)},
    "far away": {"to_at": at(2**64 - 64)},
    "half a texel": {"width": 62},
    "between texels": {"to_at": at(2)},
    "of no width": {"width": 0},
    "of no height": {"height": 0},
    "of no depth": {"depth": 0},
    "overflowing": {"to_at": at(64, 2**64 - 2, 2**64 - 1), "height": 4, "depth": 2},
}


@pytest.mark.parametrize("change", OUTSIDE.values(), ids=OUTSIDE.keys())
def test_a_box_outside_its_array_is_an_error(change: dict[str, Any], client: Client) -> None:
    arena = client.layout["device_arena"]
    assert client.ask("MemoryCommit", address=arena, bytes=4 * MIB) == 0
    assert create(client, depth=2, flags=LAYERED) == 0
    array = client.layout.handle("array")
    memory = {"source": arena, "from_pitch": 512, "from_height": 64}
    client.send(client.command("Copy3DBetween", to_array=array, **memory, **BOX))
    assert refused(client) == 0
    client.send(client.command("Copy3DBetween", to_array=array, **memory, **(BOX | change)))
    assert refused(client) == INVALID_VALUE
    turned = {name.replace("to_at", "from_at"): value for name, value in change.items()}
    down = {"from_array": array, "chunk": client.layout["up_chunks"]}
    assert client.ask("Copy3DToStaging", **down, **BOX) == 0
    if 0 not in turned.values():  # a chunk of nothing ends the session: see below
        assert client.ask("Copy3DToStaging", **down, **(BOX | turned)) == INVALID_VALUE
    assert client.alive()


@pytest.mark.parametrize(
    "change",
    [
        {"from_pitch": 63},
        {"from_pitch": 0},
        {"from_pitch": 2**63},
        {"from_height": 3},
        {"from_height": 2**63},
        {"depth": 2**40},
        {"height": 2**62, "from_height": 2**62},
        {"width": 2**64 - 1, "from_pitch": 2**64 - 1},
        {"source": 0x500000000000 + 4 * MIB - 64},
        {"source": 0x500000000000 - 64},
        {"source": 0},
        {"source": 2**64 - 64},
        {"from_pitch": 4 * MIB},
    ],
)
def test_a_box_outside_the_sessions_memory_is_an_error(change: dict[str, int], client: Client) -> None:
    arena = client.layout["device_arena"]
    assert client.ask("MemoryCommit", address=arena, bytes=4 * MIB) == 0
    box = BOX | {"depth": 3} | {"source": arena, "from_pitch": 64, "from_height": 4}
    to = {"destination": arena + 2 * MIB, "to_pitch": 128, "to_height": 8}
    client.send(client.command("Copy3DBetween", **box, **to))
    assert refused(client) == 0
    client.send(client.command("Copy3DBetween", **(box | change), **to))
    assert refused(client) == INVALID_VALUE
    swapped = {
        name.replace("from", "to").replace("source", "destination"): v for name, v in (box | change).items()
    }
    back = {"source": arena + 2 * MIB, "from_pitch": 128, "from_height": 8}
    client.send(client.command("Copy3DBetween", **(back | swapped)))
    assert refused(client) == INVALID_VALUE
    assert client.alive()


def test_memory_under_a_texture_is_the_sessions_own(client: Client) -> None:
    arena = client.layout["device_arena"]
    assert client.ask("MemoryCommit", address=arena, bytes=2 * MIB) == 0
    line = {"resource": OF_LINE, "format": FLOAT, "channels": 1, "address": arena, "bytes": 2 * MIB}
    assert texture(client, **line) == 0
    for change in (
        {"bytes": 2 * MIB + 1},
        {"bytes": 0},
        {"bytes": 2**64 - 1},
        {"address": arena + 4},
        {"address": 0},
        {"address": 2**64 - 4},
        {"channels": 3},
        {"format": 0x91},
    ):
        assert texture(client, **(line | change)) == INVALID_VALUE
    plane = {"resource": OF_PLANE, "format": FLOAT, "channels": 4, "address": arena}
    plane |= {"width": 64, "height": 1024, "pitch": 2048}
    assert texture(client, **plane) == 0
    for change in (
        {"height": 1026},
        {"height": 0},
        {"height": 2**63},
        {"width": 0},
        {"width": 129},
        {"width": 2**60},
        {"pitch": 1023},
        {"pitch": 2**62},
    ):
        assert texture(client, **(plane | change)) == INVALID_VALUE
    assert texture(client, resource=4) == INVALID_VALUE
    assert texture(client, resource=2**32 - 1) == INVALID_VALUE
    assert client.alive()


def test_an_object_of_a_neighbour_cannot_be_ended(host: Any, opened: OpenedSlice) -> None:
    one, two = host.client(opened), host.client(opened)
    assert create(one, flags=2) == 0
    assert texture(one, resource=OF_ARRAY, array=one.layout.handle("array")) == 0
    made = int.from_bytes(one.payload(8), "little")
    assert one.ask("SurfaceCreate", array=one.layout.handle("array")) == 0
    surface = int.from_bytes(one.payload(8), "little")
    two.send(two.command("TextureDestroy", texture=made))
    assert refused(two) == INVALID_HANDLE
    two.send(two.command("SurfaceDestroy", surface=surface))
    assert refused(two) == INVALID_HANDLE
    one.send(one.command("TextureDestroy", texture=surface))
    assert refused(one) == INVALID_HANDLE
    one.send(one.command("TextureDestroy", texture=made), one.command("SurfaceDestroy", surface=surface))
    assert refused(one) == 0
    one.send(one.command("TextureDestroy", texture=made))
    assert refused(one) == INVALID_HANDLE
    assert texture(two, resource=OF_ARRAY, array=two.layout.handle("array")) == INVALID_HANDLE
    assert two.ask("SurfaceCreate", array=two.layout.handle("array")) == INVALID_HANDLE
    assert one.alive()
    assert two.alive()


def test_textures_are_bounded(client: Client) -> None:
    """2^16 of them. A reply slot may be named again once it was answered, so many go with one."""
    assert create(client) == 0
    of = {"resource": OF_ARRAY, "array": client.layout.handle("array")}
    batch = b"".join([bytes(client.command("TextureCreate", 1, **of))] * (1 << 12))
    for _ in range(16):
        rest = client.layout["ring_bytes"] - client.head % client.layout["ring_bytes"]
        if rest < len(batch) + 4096:
            client.send(struct.pack("<I", rest) + bytes(rest - 4))  # a filler to the end of the lap
        client.send(batch)
        assert client.ask("ContextSynchronize") == 0
    assert texture(client, **of) == OUT_OF_MEMORY
    assert client.alive()


def dead_array(client: Client) -> None:
    assert create(client) == 0
    assert client.ask("ArrayDestroy", array=client.layout.handle("array")) == 0


def level_of(client: Client) -> int:
    assert levels(client) == 0
    level = int(client.layout.handle("array", 1))
    whole = client.layout.handle("mipmapped_array")
    assert client.ask("MipmappedArrayGetLevel", mipmapped=whole, array=level, level=1) == 0
    return level


ENDS: dict[str, tuple[Callable[[Client], Any], str]] = {
    "an array of another kind": (
        lambda c: c.send(c.command("ArrayDestroy", 0, array=c.layout.handle("stream"))),
        "ArrayDestroy names",
    ),
    "a mipmapped array for an array": (
        lambda c: c.send(c.command("SurfaceCreate", 0, array=c.layout.handle("mipmapped_array"))),
        "which is no handle of the kind it needs",
    ),
    "a texture of an event": (
        lambda c: c.send(c.command("TextureCreate", 0, resource=OF_ARRAY, array=c.layout.handle("event"))),
        "TextureCreate names",
    ),
    "a copy to a module": (
        lambda c: c.send(c.command("Copy3DBetween", to_array=c.layout.handle("module"), **BOX)),
        "Copy3DBetween names",
    ),
    "an array where one lives": (
        lambda c: (create(c), c.send(c.command("ArrayCreate", 0, array=c.layout.handle("array")))),
        "which is taken or no handle",
    ),
    "a level where an array lives": (
        lambda c: (
            create(c, 1),
            levels(c),
            c.send(
                c.command(
                    "MipmappedArrayGetLevel",
                    0,
                    mipmapped=c.layout.handle("mipmapped_array"),
                    array=c.layout.handle("array", 1),
                )
            ),
        ),
        "which is taken or no handle",
    ),
    "a level destroyed by itself": (
        lambda c: c.send(c.command("ArrayDestroy", 0, array=level_of(c))),
        "ArrayDestroy names a level of a mipmapped array",
    ),
    "a box larger than its chunk": (
        lambda c: c.send(c.command("Copy3DFromStaging", width=1024, height=1024, depth=2, stream=1)),
        "Copy3DFromStaging names no chunk that goes up, or more than it holds",
    ),
    "a box of nothing": (
        lambda c: c.send(c.command("Copy3DFromStaging", width=16, height=0, depth=2, stream=1)),
        "Copy3DFromStaging names no chunk",
    ),
    "a box that overflows": (
        lambda c: c.send(c.command("Copy3DFromStaging", width=1 << 20, height=1 << 44, depth=1, stream=1)),
        "Copy3DFromStaging names no chunk",
    ),
    "a box from a chunk that comes down": (
        lambda c: c.send(c.command("Copy3DFromStaging", width=1, height=1, depth=1, stream=1, chunk=16)),
        "Copy3DFromStaging names no chunk",
    ),
    "a box to a chunk that goes up": (
        lambda c: c.send(c.command("Copy3DToStaging", 0, width=1, height=1, depth=1, stream=1, chunk=15)),
        "Copy3DToStaging names no chunk that comes down",
    ),
    "a box to a chunk that is none": (
        lambda c: c.send(
            c.command("Copy3DToStaging", 0, width=1, height=1, depth=1, stream=1, chunk=2**32 - 1)
        ),
        "Copy3DToStaging names no chunk that comes down",
    ),
}


@pytest.mark.parametrize(("act", "reason"), ENDS.values(), ids=ENDS.keys())
def test_what_ends_the_session_says_so(
    act: Callable[[Client], Any], reason: str, host: Any, opened: OpenedSlice
) -> None:
    client, neighbour = host.client(opened), host.client(opened)
    act(client)
    assert client.ended()
    assert reason in client.reason()
    assert reason in host.session_ended(opened.slice_id)
    assert create(neighbour) == 0


def test_a_dead_array_is_an_error_not_an_end(client: Client) -> None:
    dead_array(client)
    array = client.layout.handle("array")
    assert client.ask("ArrayDestroy", array=array) == INVALID_HANDLE
    assert client.ask("Copy3DToStaging", from_array=array, chunk=16, **BOX) == INVALID_HANDLE
    client.send(client.command("Copy3DBetween", to_array=array, **BOX))
    assert refused(client) == INVALID_HANDLE
    client.send(client.command("Copy3DFromStaging", to_array=array, chunk=0, **BOX))
    assert refused(client) == INVALID_HANDLE
    assert client.word(client.layout["chunk_busy"]) == 0  # the chunk came back
    assert client.ask("ArrayDestroy", array=client.layout.stale("array")) == INVALID_HANDLE
    assert client.alive()
