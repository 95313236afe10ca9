"""A client that writes nonsense loses its own session, with a reason it can read, and nobody else loses anything."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

END = "so its session was ended: "
MIB = 1 << 20
Client = Any  # hand_made_client.HandMadeClient


@pytest.fixture(scope="module")
def neighbour(daemon: Any) -> Iterator[Client]:
    """A client that keeps the rules, under a slice of its own, for as long as the others do not."""
    opened = daemon.open()
    made = daemon.connection()
    daemon._clients.remove(made)  # outlives the single test
    made.hello(opened)
    assert made.ask("MemoryCommit", address=made.layout["device_arena"], bytes=2 * MIB) == 0
    yield made
    made.close()


def header(client: Client, size: int, opcode: int) -> bytes:
    """The first word of a command, which is what the reader looks at first."""
    return struct.pack("<IHH", size, opcode, 0) + bytes(max(0, min(size, 64) - 8) // 8 * 8)


def with_header(
    client: Client, field: str, form: str, value: int, name: str = "ContextSynchronize"
) -> bytearray:
    made: bytearray = client.command(name)
    struct.pack_into(form, made, client.layout["header"][field], value)
    return made


def send(make: Callable[[Client], bytes | bytearray]) -> Callable[[Client], None]:
    return lambda client: client.send(make(client))


def command(name: str, tail: bytes = b"", **fields: int | bytes) -> Callable[[Client], None]:
    return lambda client: client.send(client.command(name, None, tail, **fields))


def publish(head: int) -> Callable[[Client], None]:
    return lambda client: client.publish(head)


def after_a_command(head: int) -> Callable[[Client], None]:
    def act(client: Client) -> None:
        client.ask("ContextSynchronize")
        client.publish(client.head + head)

    return act


def with_memory(act: Callable[[Client], None]) -> Callable[[Client], None]:
    """Acts when the first 4 MiB of the arena have memory."""

    def after(client: Client) -> None:
        assert client.ask("MemoryCommit", address=DEVICE, bytes=4 * MIB) == 0
        act(client)

    return after


def create_twice(client: Client) -> None:
    event = client.command("EventCreate", phEvent=client.layout.handle("event"))
    client.send(event, event)


def with_physical(**mapping: int) -> Callable[[Client], None]:
    """Maps 4 MiB of physical memory as said."""

    def act(client: Client) -> None:
        allocation = client.layout.handle("allocation")
        assert client.ask("PhysicalCreate", allocation=allocation, bytes=4 * MIB) == 0
        client.send(client.command("PhysicalMap", allocation=allocation, **mapping))

    return act


def with_graph(act: Callable[[Client, int], None]) -> Callable[[Client], None]:
    """Acts on a graph of its own."""

    def make(client: Client) -> None:
        assert client.ask("GraphCreate") == 0
        act(client, int.from_bytes(client.payload(8), "little"))

    return make


DEVICE, HOST = 0x500000000000, 0x480000000000
MALFORMED: dict[str, tuple[Callable[[Client], None], str]] = {
    "opcode 0": (send(lambda c: header(c, 16, 0)), "a filler does not fill the rest of a lap"),
    "an unknown opcode": (send(lambda c: with_header(c, "opcode", "<H", 0x7FFF)), "opcode 32767 is unknown"),
    "the first opcode that is none": (
        send(lambda c: with_header(c, "opcode", "<H", c.layout["opcode_count"])),
        "is unknown",
    ),
    "size 0": (
        send(lambda c: with_header(c, "bytes", "<I", 0)),
        "a command tells a size of 0 bytes where 16 lie",
    ),
    "an odd size": (send(lambda c: with_header(c, "bytes", "<I", 15)), "a size of 15 bytes"),
    "a size beyond the head": (
        send(lambda c: with_header(c, "bytes", "<I", 24)),
        "a size of 24 bytes where 16 lie",
    ),
    "the largest size": (
        send(lambda c: with_header(c, "bytes", "<I", 0xFFFFFFFF)),
        "a size of 4294967295 bytes",
    ),
    "less than a header": (
        send(lambda c: with_header(c, "bytes", "<I", 8)),
        "a command is shorter than its header",
    ),
    "more than a command": (
        lambda c: (c.write(with_header(c, "bytes", "<I", 65544)), c.publish(MIB)),
        "a command of 65544 bytes is larger than any may be",
    ),
    "a whole lap of filler": (
        lambda c: (c.write(header(c, c.layout["ring_bytes"], 0)), c.publish(c.layout["ring_bytes"])),
        "a filler does not fill the rest of a lap",
    ),
    "fewer fields than it has": (
        send(lambda c: with_header(c, "opcode", "<H", c.layout["commands"]["MemoryCommit"]["opcode"])),
        "MemoryCommit has 16 bytes where its fields need 32",
    ),
    "a tail that is not there": (
        send(lambda c: with_header(c, "tail_bytes", "<I", 8, "LinkCreate")),
        "LinkCreate tells a tail of 8 bytes",
    ),
    "a tail of 4 GiB": (
        send(lambda c: with_header(c, "tail_bytes", "<I", 0xFFFFFFFF, "CopyInline")),
        "CopyInline tells a tail of 4294967295 bytes",
    ),
    "a tail where none may be": (command("ContextSynchronize", b"12345678"), "ContextSynchronize has a tail"),
    "a reply slot too many": (
        send(lambda c: with_header(c, "reply_slot", "<H", c.layout["slot_count"])),
        "ContextSynchronize names reply slot 64 of 64",
    ),
    "no reply slot": (
        send(lambda c: with_header(c, "reply_slot", "<H", c.layout["no_reply"])),
        "names reply slot 65535 of 64",
    ),
    "a reply slot of an asynchronous command": (
        send(lambda c: with_header(c, "reply_slot", "<H", 0, "EventDestroy")),
        "EventDestroy is asynchronous and names a reply slot",
    ),
    "a head beyond the ring": (publish(4 * MIB + 8), "the ring's head is not ahead of its tail"),
    "the largest head": (publish(2**64 - 1), "the ring's head is not ahead of its tail"),
    "a head that goes back": (after_a_command(-8), "the ring's head is not ahead of its tail"),
    "a head of 7 bytes": (publish(7), "a command is shorter than its size and opcode"),
    "a handle that is none": (
        command("EventDestroy", event=5),
        "EventDestroy names 5, which is no handle of the kind it needs",
    ),
    "the default stream destroyed": (
        command("StreamDestroy", stream=1),
        "StreamDestroy names the default stream",
    ),
    "a handle of another kind": (
        lambda c: c.send(c.command("EventDestroy", event=c.layout.handle("stream"))),
        "which is no handle of the kind it needs",
    ),
    "a new object of another kind": (
        lambda c: c.send(c.command("EventCreate", phEvent=c.layout.handle("module"))),
        "which is taken or no handle",
    ),
    "a new object where one lives": (create_twice, "which is taken or no handle"),
    "a new object far away": (
        lambda c: c.send(c.command("EventCreate", phEvent=c.layout.handle("event", 100_000))),
        "which is taken or no handle",
    ),
    "memory outside the arena": (
        command("MemoryCommit", address=DEVICE - 2 * MIB, bytes=2 * MIB),
        "MemoryCommit asks for memory outside the arena",
    ),
    "memory past the arena's end": (
        command("MemoryCommit", address=DEVICE + (4 << 40) - 2 * MIB, bytes=4 * MIB),
        "MemoryCommit asks for memory outside the arena",
    ),
    "memory with an overflow": (
        command("MemoryCommit", address=DEVICE + 2 * MIB, bytes=2**64 - 2 * MIB),
        "MemoryCommit asks for memory outside the arena",
    ),
    "half a page of memory": (command("MemoryCommit", address=DEVICE, bytes=MIB), "or not in whole pages"),
    "memory of no size": (command("MemoryCommit", address=DEVICE, bytes=0), "or not in whole pages"),
    "memory twice": (
        lambda c: (
            c.ask("MemoryCommit", address=DEVICE, bytes=4 * MIB),
            command("MemoryCommit", address=DEVICE + 2 * MIB, bytes=2 * MIB)(c),
        ),
        "MemoryCommit asks for addresses that have memory already",
    ),
    "memory given back that was none": (
        command("MemoryDecommit", address=DEVICE, bytes=2 * MIB),
        "MemoryDecommit names no range that was committed",
    ),
    "a part of memory given back": (
        lambda c: (
            c.ask("MemoryCommit", address=DEVICE, bytes=4 * MIB),
            command("MemoryDecommit", address=DEVICE, bytes=2 * MIB)(c),
        ),
        "MemoryDecommit names no range that was committed",
    ),
    "physical memory of half a page": (
        lambda c: c.send(c.command("PhysicalCreate", allocation=c.layout.handle("allocation"), bytes=MIB)),
        "PhysicalCreate asks for what is no number of whole pages",
    ),
    "physical memory mapped outside the arena": (
        with_physical(address=DEVICE - 2 * MIB, bytes=2 * MIB),
        "PhysicalMap names addresses outside the arena",
    ),
    "physical memory mapped over other memory": (
        with_memory(with_physical(address=DEVICE + 2 * MIB, bytes=4 * MIB)),
        "PhysicalMap names addresses that have memory already",
    ),
    "a mapping ended that was none": (
        with_memory(command("PhysicalUnmap", address=DEVICE, bytes=4 * MIB)),
        "PhysicalUnmap names no range that was mapped",
    ),
    "access to what is not mapped": (
        with_memory(command("PhysicalSetAccess", address=DEVICE, bytes=4 * MIB, flags=3)),
        "PhysicalSetAccess names no range that was mapped",
    ),
    "a host function of no kind": (
        command("HostFunction", stream=1, code=1, kind=7),
        "HostFunction is of no kind that exists",
    ),
    "a capture of no mode": (
        command("CaptureBegin", stream=1, mode=9),
        "CaptureBegin asks for a mode that does not exist",
    ),
    "pinned memory outside": (
        command("HostCommit", offset=(256 << 30) - 2 * MIB, bytes=4 * MIB),
        "HostCommit asks for memory outside the arena",
    ),
    "pinned memory given back that was none": (
        command("HostDecommit", offset=0, bytes=2 * MIB),
        "HostDecommit names no range that was pinned",
    ),
    "a chunk too many": (
        command("CopyFromStaging", destination=DEVICE, stream=1, chunk=30, bytes=8),
        "CopyFromStaging names no chunk that goes up",
    ),
    "a chunk of the other direction": (
        command("CopyFromStaging", destination=DEVICE, stream=1, chunk=16, bytes=8),
        "CopyFromStaging names no chunk that goes up",
    ),
    "a chunk down that goes up": (
        command("CopyToStaging", source=DEVICE, stream=1, chunk=0, bytes=8),
        "CopyToStaging names no chunk that comes down",
    ),
    "more than a chunk": (
        command("CopyFromStaging", destination=DEVICE, stream=1, chunk=0, bytes=MIB + 1),
        "CopyFromStaging names no chunk that goes up",
    ),
    "more than a reply": (
        command("CopyToReply", source=DEVICE, stream=1, bytes=4096),
        "CopyToReply asks for more than a reply holds",
    ),
    "an inline copy of nothing": (
        command("CopyInline", destination=DEVICE, stream=1),
        "CopyInline has no data, or too much",
    ),
    "an inline copy of too much": (
        command("CopyInline", bytes(16 * 1024 + 1), destination=DEVICE, stream=1),
        "CopyInline has no data, or too much",
    ),
    "an image part of no chunk": (
        command("ImagePart", digest=bytes(32), image_bytes=8, offset=0, chunk=16, bytes=8),
        "ImagePart names no chunk that goes up",
    ),
    "options that do not fit": (
        command("LinkCreate", b"12345678", link=0x500000000000, option_count=1),
        "LinkCreate's options do not fit its tail",
    ),
    "2^28 options": (
        command("LinkCreate", link=0x500000000000, option_count=1 << 28),
        "LinkCreate's options do not fit its tail",
    ),
    "a tensor map of rank 6": (
        command("TensorMapEncode", kind=0, rank=6),
        "TensorMapEncode is of no kind and rank that exist",
    ),
    "a tensor map without arrays": (
        command("TensorMapEncode", kind=0, rank=5),
        "TensorMapEncode's arrays do not fit its tail",
    ),
}


# Of graphs, which the driver that does nothing does not have.
MALFORMED_GRAPHS: dict[str, tuple[Callable[[Client], None], str]] = {
    "edges for fewer dependencies": (
        with_graph(
            lambda c, graph: command("GraphAddNode", bytes(24), graph=graph, dependencies=2, edges=1)(c)
        ),
        "GraphAddNode's dependencies do not fit its tail",
    ),
    "a kernel node without its head": (
        with_graph(lambda c, graph: command("GraphAddNode", bytes(8), graph=graph, type=0)(c)),
        "a kernel node's parameters do not fit its tail",
    ),
    "a memset node cut short": (
        with_graph(lambda c, graph: command("GraphAddNode", bytes(8), graph=graph, type=2)(c)),
        "a graph node's parameters do not fit its tail",
    ),
    "a listing of what does not exist": (
        with_graph(lambda c, graph: command("GraphList", object=graph, what=9)(c)),
        "GraphList asks for what does not exist",
    ),
    "2^28 dependencies": (
        lambda c: command("CaptureUpdate", stream=1, dependencies=1 << 28)(c),
        "CaptureUpdate's dependencies do not fit its tail",
    ),
}


@pytest.mark.parametrize(("act", "reason"), MALFORMED.values(), ids=MALFORMED.keys())
def test_the_session_ends_with_its_reason_and_others_go_on(
    act: Callable[[Client], None], reason: str, host: Any, neighbour: Client
) -> None:
    opened = host.open()
    client = host.client(opened)
    act(client)
    assert client.ended()
    assert client.word(client.layout["state"]) == 1
    assert END in client.reason()
    assert reason in client.reason()
    assert client.reason().endswith("Restart the kernel.")
    assert reason in host.session_ended(opened.slice_id)

    assert neighbour.ask("ContextSynchronize") == 0
    assert neighbour.alive()
    host.control.close_slice(opened.slice_id, opened.token)


@pytest.mark.parametrize(("act", "reason"), MALFORMED_GRAPHS.values(), ids=MALFORMED_GRAPHS.keys())
def test_a_malformed_graph_ends_the_session_with_its_reason(
    act: Callable[[Client], None], reason: str, software_host: Any
) -> None:
    opened = software_host.open()
    client = software_host.client(opened)
    act(client)
    assert client.ended()
    assert END in client.reason()
    assert reason in software_host.session_ended(opened.slice_id)
    software_host.control.close_slice(opened.slice_id, opened.token)


@pytest.mark.parametrize("seed", range(3))
def test_a_ring_of_random_bytes(seed: int, host: Any, neighbour: Client) -> None:
    opened = host.open()
    client = host.client(opened)
    start = client.layout["ring"]
    client.memory[start : start + 65536] = random.Random(seed).randbytes(65536)
    client.publish(65536)
    assert client.ended()
    assert END in client.reason()
    assert neighbour.ask("ContextSynchronize") == 0
    host.control.close_slice(opened.slice_id, opened.token)


def test_all_shared_memory_overwritten(host: Any, neighbour: Client) -> None:
    """Head, tail, waiting flags, replies, facts and status page: the worker believes none of it."""
    opened = host.open()
    client = host.client(opened)
    client.ask("ContextSynchronize")
    client.memory[: client.layout["ring"]] = random.Random(1).randbytes(client.layout["ring"])
    start, end = client.layout["slots"], client.layout["staging"]
    client.memory[start:end] = random.Random(2).randbytes(end - start)
    assert client.ended()
    assert "the ring's head is not ahead of its tail" in host.session_ended(opened.slice_id)
    assert neighbour.ask("ContextSynchronize") == 0
    host.control.close_slice(opened.slice_id, opened.token)


def test_every_waiting_reply_is_answered_at_the_end(host: Any) -> None:
    client = host.client()
    pending, done = client.layout["slot_pending"], client.layout["slot_done"]
    states = [
        client.layout["slots"] + slot * client.layout["slot_bytes"] + client.layout["slot_state"]
        for slot in range(client.layout["slot_count"])
    ]
    for state in states:
        client.set_word(state, pending)
    client.publish(7)
    assert client.ended()
    assert [client.word(state) for state in states] == [done] * len(states)
