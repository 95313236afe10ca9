"""What a client may name is its own, and what it may have is bounded; within that, it goes on."""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path
from typing import Any

MIB = 1 << 20
OUT_OF_MEMORY, INVALID_VALUE, INVALID_IMAGE, INVALID_HANDLE = 2, 1, 200, 400
CAPTURE_UNSUPPORTED = 900
SEND_IMAGE = -1
IMAGE = b".version 7.0\n.target sm_70\n.address_size 64\n\0"


def upload(client: Any, image: bytes, digest: bytes | None = None) -> int:
    """Sends an image of one chunk."""
    start = client.layout["staging"]
    client.memory[start : start + len(image)] = image
    named = hashlib.sha256(image).digest() if digest is None else digest
    return int(
        client.ask("ImagePart", digest=named, image_bytes=len(image), offset=0, chunk=0, bytes=len(image))
    )


def load(client: Any, image: bytes, module: int, size: int | None = None) -> int:
    named = {"digest": hashlib.sha256(image).digest(), "image_bytes": len(image) if size is None else size}
    return int(client.ask("ModuleLoad", module=module, option_count=0, as_library=0, **named))


def test_a_stale_handle_is_an_error_not_an_end(host: Any) -> None:
    client = host.client()
    event = client.layout.handle("event")
    client.send(client.command("EventCreate", phEvent=event))
    assert client.ask("EventQuery", hEvent=event) == 0
    assert client.ask("EventQuery", hEvent=client.layout.stale("event")) == INVALID_HANDLE
    client.send(client.command("EventDestroy", event=event))
    assert client.ask("EventQuery", hEvent=event) == INVALID_HANDLE
    assert client.ask("EventSynchronize", event=event) == INVALID_HANDLE
    assert client.ask("ContextSynchronize") == 0


def test_a_neighbours_handle_is_nothing_here(host: Any) -> None:
    one, two = host.client(), host.client()
    event = one.layout.handle("event", 3)
    one.send(one.command("EventCreate", phEvent=event))
    assert one.ask("EventQuery", hEvent=event) == 0
    assert two.ask("EventQuery", hEvent=event) == INVALID_HANDLE
    two.send(two.command("EventDestroy", event=event))
    assert two.ask("ContextSynchronize") == INVALID_HANDLE  # told once, by the next call that waits
    assert two.ask("ContextSynchronize") == 0
    assert one.ask("EventQuery", hEvent=event) == 0


def test_a_neighbours_memory_is_nothing_here(host: Any) -> None:
    one, two = host.client(), host.client()
    arena = one.layout["device_arena"]
    assert one.ask("MemoryCommit", address=arena, bytes=2 * MIB) == 0
    assert one.ask("CopyToReply", source=arena, stream=1, bytes=64) == 0
    assert two.ask("CopyToReply", source=arena, stream=1, bytes=64) == INVALID_VALUE
    assert two.ask("CopyToReply", source=one.layout["host_arena"], stream=1, bytes=64) == INVALID_VALUE


def test_copies_reach_to_the_end_of_memory_and_not_past_it(host: Any) -> None:
    client = host.client()
    arena, page = client.layout["device_arena"], client.layout["page_bytes"]
    assert client.ask("MemoryCommit", address=arena + page, bytes=page) == 0
    assert client.ask("MemoryCommit", address=arena + 2 * page, bytes=page) == 0
    for offset, size, result in (
        (page, 64, 0),
        (2 * page - 32, 64, 0),  # over the seam of two
        (3 * page - 64, 64, 0),
        (3 * page - 63, 64, INVALID_VALUE),
        (page - 1, 64, INVALID_VALUE),
        (0, 64, INVALID_VALUE),
    ):
        assert client.ask("CopyToReply", source=arena + offset, stream=1, bytes=size) == result
    assert client.ask("CopyToReply", source=2**64 - 32, stream=1, bytes=64) == INVALID_VALUE
    client.send(
        client.command(
            "CopyBetween", destination=arena + page, source=arena + page, bytes=2**64 - 1, stream=1
        )
    )
    assert client.ask("ContextSynchronize") == INVALID_VALUE
    wide = {"destination": arena + page, "source": arena + page, "stream": 1}
    client.send(
        client.command(
            "Copy2DBetween",
            destination_pitch=1 << 62,
            source_pitch=1 << 62,
            width=1 << 62,
            height=1 << 62,
            **wide,
        )
    )
    assert client.ask("ContextSynchronize") == INVALID_VALUE
    assert client.alive()


def test_the_slices_limit_holds(host: Any) -> None:
    opened = host.open(16 * MIB)
    one, two = host.client(opened), host.client(opened)
    arena = one.layout["device_arena"]
    assert one.ask("MemoryCommit", address=arena, bytes=12 * MIB) == 0
    assert two.ask("MemoryCommit", address=arena, bytes=6 * MIB) == OUT_OF_MEMORY
    assert two.ask("MemoryCommit", address=arena, bytes=4 * MIB) == 0
    assert one.ask("MemoryCommit", address=arena + 32 * MIB, bytes=4 << 39) == OUT_OF_MEMORY
    (listed,) = [s for s in host.control.list_slices() if s.slice_id == opened.slice_id]
    assert listed.used_bytes == 16 * MIB


def test_physical_memory_counts_while_it_is_held_or_mapped(host: Any) -> None:
    client = host.client(host.open(16 * MIB))
    arena, allocation = client.layout["device_arena"], client.layout.handle("allocation")
    assert client.ask("PhysicalCreate", allocation=allocation, bytes=12 * MIB) == 0
    other = client.layout.handle("allocation", 1)
    assert client.ask("PhysicalCreate", allocation=other, bytes=6 * MIB) == OUT_OF_MEMORY
    mapping = {"allocation": allocation, "address": arena, "bytes": 12 * MIB}
    assert client.ask("PhysicalMap", **mapping, offset=2 * MIB) == INVALID_VALUE  # beyond its end
    assert client.ask("PhysicalMap", **mapping) == 0
    assert client.ask("PhysicalRelease", allocation=allocation) == 0
    assert client.ask("PhysicalRelease", allocation=allocation) == INVALID_VALUE
    assert client.ask("PhysicalCreate", allocation=other, bytes=6 * MIB) == OUT_OF_MEMORY
    assert client.ask("PhysicalUnmap", address=arena, bytes=12 * MIB) == 0
    assert client.ask("PhysicalCreate", allocation=other, bytes=16 * MIB) == 0


def test_what_a_command_carries_gets_into_no_graph(software_host: Any) -> None:
    """A graph would read the worker's own buffers when it runs, long after they hold other things."""
    client = software_host.client()
    arena, stream = client.layout["device_arena"], client.layout.handle("stream")
    assert client.ask("MemoryCommit", address=arena, bytes=2 * MIB) == 0
    client.send(client.command("StreamCreate", stream=stream, flags=1))
    assert client.ask("CaptureBegin", stream=stream, mode=2) == 0
    client.send(client.command("CopyInline", None, bytes(64), destination=arena, stream=stream))
    client.send(client.command("CopyFromStaging", destination=arena, stream=stream, chunk=0, bytes=64))
    assert client.ask("CopyToReply", source=arena, stream=stream, bytes=64) == CAPTURE_UNSUPPORTED
    assert client.ask("CopyToStaging", source=arena, stream=stream, chunk=16, bytes=64) == CAPTURE_UNSUPPORTED
    assert client.ask("CaptureEnd", stream=stream) == 0
    graph = int.from_bytes(client.payload(8), "little")
    assert client.ask("GraphList", object=graph, what=0) == 0
    assert client.payload(4) == bytes(4)  # no node
    assert client.ask("ContextSynchronize") == CAPTURE_UNSUPPORTED  # told once


def test_a_graphs_nodes_reach_this_sessions_memory_only(software_host: Any) -> None:
    client = software_host.client()
    arena = client.layout["device_arena"]
    assert client.ask("MemoryCommit", address=arena, bytes=2 * MIB) == 0
    assert client.ask("GraphCreate") == 0
    graph = int.from_bytes(client.payload(8), "little")

    def memset(address: int, width: int, height: int = 1, pitch: int = 0) -> int:
        tail = struct.pack("<QQIIQQ", address, pitch, 0, 1, width, height)
        return int(client.ask("GraphAddNode", tail, graph=graph, type=2))

    assert memset(arena, 2 * MIB) == 0
    assert memset(arena, 2 * MIB + 1) == INVALID_VALUE
    assert memset(arena - 1, 8) == INVALID_VALUE
    assert memset(arena, MIB, 3, MIB) == INVALID_VALUE
    assert memset(arena, 1, 1 << 62, 1 << 62) == INVALID_VALUE

    def copy(destination: int, source: int, width: int, x: int = 0) -> int:
        side = struct.Struct(
            "<QQQQIIQQQQQQ"
        )  # x y z lod, type (device), host, device, array, reserved, pitch, height
        made = side.pack(x, 0, 0, 0, 2, 0, 0, source, 0, 0, 0, 0)
        made += side.pack(0, 0, 0, 0, 2, 0, 0, destination, 0, 0, 0, 0)
        made += struct.pack("<QQQ", width, 1, 1)
        return int(client.ask("GraphAddNode", made, graph=graph, type=1))

    assert copy(arena, arena + MIB, MIB) == 0
    assert copy(arena, arena + MIB, MIB + 1) == INVALID_VALUE
    assert copy(arena, arena + MIB, MIB, x=1) == INVALID_VALUE
    assert copy(arena + 2 * MIB, arena, 8) == INVALID_VALUE
    assert copy(arena, 0x7F0000000000, 8) == INVALID_VALUE
    assert copy(arena, arena, 8, x=2**64 - 8) == INVALID_VALUE
    node = client.layout.handle("graph_node", 77)
    assert client.ask("GraphNodeGet", node=node) == INVALID_VALUE
    assert client.ask("GraphInstantiate", graph=graph + 16) == INVALID_VALUE
    neighbour = software_host.client()
    assert neighbour.ask("GraphInstantiate", graph=graph) == INVALID_VALUE
    assert client.alive()


def test_pinned_memory_is_bounded(host: Any) -> None:
    client = host.client(host.open(16 * MIB))
    assert client.ask("HostCommit", offset=0, bytes=64 << 30) == OUT_OF_MEMORY
    assert client.ask("HostCommit", offset=0, bytes=4 * MIB) == 0
    assert client.ask("ContextSynchronize") == 0


def written_to(process: str, descriptor: str) -> int:
    """Where the next byte that a process writes there will stand."""
    return int(Path(f"/proc/{process}/fdinfo/{descriptor}").read_text().split("pos:")[1].split()[0])


def test_text_of_kernels_that_nobody_takes_is_bounded(software_host: Any) -> None:
    """Each thread prints 1 KiB; the client never says that it read any of it."""
    letters = ", ".join(["120"] * 1023 + ["0"])
    image = f"""
.version 7.5
.target sm_75
.address_size 64
.extern .func (.param .b32 status) vprintf(.param .b64 format, .param .b64 arguments);
.global .align 1 .b8 text[1024] = {{{letters}}};
.visible .entry chatter()
{{
    .reg .b64 %rd<4>;
    .param .b64 format;
    .param .b64 arguments;
    .param .b32 status;
    mov.u64 %rd1, text;
    cvta.global.u64 %rd2, %rd1;
    mov.u64 %rd3, 0;
    st.param.b64 [format], %rd2;
    st.param.b64 [arguments], %rd3;
    call.uni (status), vprintf, (format, arguments);
    ret;
}}
\0""".encode()
    client = software_host.client()
    module, kernel = client.layout.handle("module"), client.layout.handle("kernel")
    assert load(client, image, module) == SEND_IMAGE
    assert upload(client, image) == 0
    assert load(client, image, module) == 0
    assert client.ask("ModuleGetKernel", b"chatter", module=module, kernel=kernel) == 0
    grid, block = struct.pack("<III", 100, 1, 1), struct.pack("<III", 1024, 1, 1)
    client.send(client.command("LaunchKernel", kernel=kernel, stream=1, grid=grid, block=block))
    assert client.ask("ContextSynchronize") == 0
    daemon = software_host.process.pid
    workers = Path(f"/proc/{daemon}/task/{daemon}/children").read_text().split()
    texts = [
        (written_to(worker, file.name), file.stat().st_blocks * 512)
        for worker in workers
        for file in Path(f"/proc/{worker}/fd").iterdir()
        if "tfusion-device-text" in os.readlink(file)
    ]
    written, kept = max(texts)
    assert written == 100 * 1024 * 1023
    assert 62 * MIB < kept < 66 * MIB


def test_streams_are_bounded(host: Any) -> None:
    client = host.client()
    most = 1 << 14
    create = [
        client.command("StreamCreate", stream=client.layout.handle("stream", place)) for place in range(most)
    ]
    client.send(*create)
    assert client.ask("ContextSynchronize") == 0
    client.send(client.command("StreamCreate", stream=client.layout.handle("stream", most)))
    assert client.ask("ContextSynchronize") == OUT_OF_MEMORY
    client.send(client.command("StreamDestroy", stream=client.layout.handle("stream", 5)))
    client.send(client.command("StreamCreate", stream=client.layout.handle("stream", 5)))
    assert client.ask("ContextSynchronize") == 0


def test_an_image_is_stored_under_its_own_digest_only(host: Any) -> None:
    client = host.client()
    module = client.layout.handle("module")
    evil = IMAGE.replace(b"sm_70", b"sm_75")
    assert load(client, IMAGE, module) == SEND_IMAGE
    assert upload(client, evil, hashlib.sha256(IMAGE).digest()) == INVALID_IMAGE
    assert load(client, IMAGE, module) == SEND_IMAGE
    assert upload(client, IMAGE) == 0
    assert load(client, IMAGE, module, len(IMAGE) + 1) == SEND_IMAGE
    assert load(client, IMAGE, module) == 0
    neighbour = host.client()
    assert load(neighbour, IMAGE, module) == 0  # the cache is the host's


def test_unfinished_uploads_go_with_their_session(host: Any) -> None:
    client = host.client()
    folder = Path(host.log.parent) / "cache" / "tfusion" / "images"
    for number in range(8):
        digest = hashlib.sha256(b"%d" % number).digest()
        assert client.ask("ImagePart", digest=digest, image_bytes=100, offset=0, chunk=0, bytes=50) == 0
    digest = hashlib.sha256(b"one more").digest()
    assert (
        client.ask("ImagePart", digest=digest, image_bytes=100, offset=0, chunk=0, bytes=50) == INVALID_IMAGE
    )
    assert len(list(folder.glob("upload-*"))) == 8
    client.close()
    host.until(lambda: "" if list(folder.glob("upload-*")) else "gone")


def test_a_kernel_does_not_outlive_its_module(host: Any) -> None:
    client = host.client()
    module, kernel = client.layout.handle("module"), client.layout.handle("kernel")
    upload(client, IMAGE)
    assert load(client, IMAGE, module) == 0
    assert client.ask("ModuleGetKernel", b"nothing", module=module, kernel=kernel) == 0
    assert client.ask("KernelDescribe", kernel=kernel, first_parameter=0) == 0
    client.send(client.command("ModuleUnload", module=module))
    assert load(client, IMAGE, module) == 0  # under the very same handle
    assert client.ask("KernelDescribe", kernel=kernel, first_parameter=0) == INVALID_HANDLE
    grid = (1).to_bytes(4, "little") * 3
    client.send(client.command("LaunchKernel", kernel=kernel, stream=1, grid=grid, block=grid))
    assert client.ask("ContextSynchronize") == INVALID_HANDLE
