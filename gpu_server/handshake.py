"""The structs of kernel_hook/protocol/handshake.hpp for Python: Hello in, Welcome out.

Used by the session listener (gpu_server/listener.py) and by tests that act as a client. Little-endian, no padding;
tests/unit/daemon/test_handshake_layout.py compiles the header and compares the two.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass

MAGIC = b"TFUSION\0"
OBSERVER_MAGIC = b"TFUSOBS\0"  # observation.hpp: asks how the slice is doing, and wants no session
MARK_MAGIC = b"TFUSMRK\0"  # the same, and sets a mark
PROTOCOL_VERSION = 4

HELLO = struct.Struct("<8sII64s128s64s")
WELCOME = struct.Struct("<8sIIQQ512s")

# (field, offset, size) in the order of the header.
HELLO_LAYOUT = (
    ("magic", 0, 8),
    ("protocol_version", 8, 4),
    ("pid", 12, 4),
    ("slice_id", 16, 64),
    ("token", 80, 128),
    ("process_name", 208, 64),
)
WELCOME_LAYOUT = (
    ("magic", 0, 8),
    ("protocol_version", 8, 4),
    ("status", 12, 4),
    ("shared_bytes", 16, 8),
    ("host_arena_bytes", 24, 8),
    ("message", 32, 512),
)


class WelcomeStatus(enum.IntEnum):
    """Why a session was refused, or that it was not."""

    ACCEPTED = 0
    BAD_HELLO = 1
    WRONG_TOKEN = 2
    SLICE_FULL = 3
    WORKER_FAILED = 4
    STOPPING = 5


class BadHello(ValueError):
    """The bytes are not a Hello of our protocol version; the text says why."""


@dataclass(frozen=True)
class Hello:
    """What a client process says of itself. ``pid`` and ``process_name`` are shown, never trusted.

    An ``observer`` wants to know how its slice is doing, and no session; one that ``marks`` also wants to know the
    most memory that the slice has from now on.
    """

    pid: int
    slice_id: str
    token: str
    process_name: str
    observer: bool = False
    marks: bool = False

    def pack(self) -> bytes:
        """The bytes that the hook sends."""
        return HELLO.pack(
            MARK_MAGIC if self.marks else OBSERVER_MAGIC if self.observer else MAGIC,
            PROTOCOL_VERSION,
            self.pid,
            self.slice_id.encode(),
            self.token.encode(),
            self.process_name.encode(),
        )

    @staticmethod
    def unpack(data: bytes) -> Hello:
        """Reads the ``HELLO.size`` bytes of a client; raises BadHello."""
        if len(data) != HELLO.size:
            raise BadHello(f"A Hello has {HELLO.size} bytes; {len(data)} came.")
        magic, version, pid, slice_id, token, name = HELLO.unpack(data)
        if magic not in (MAGIC, OBSERVER_MAGIC, MARK_MAGIC):
            raise BadHello("The connection did not begin as a tfusion client does.")
        if version != PROTOCOL_VERSION:
            raise BadHello(
                f"The vGPU library of this process speaks protocol {version}, the GPU server speaks "
                f"{PROTOCOL_VERSION}. Install the same version of jupyter-tfusion on both sides, then restart "
                "the kernel."
            )
        return Hello(
            pid=pid,
            slice_id=_ascii(slice_id, "slice id"),
            token=_ascii(token, "token"),
            process_name=_shown(name),
            observer=magic != MAGIC,
            marks=magic == MARK_MAGIC,
        )


@dataclass(frozen=True)
class Welcome:
    """The answer to a Hello. A refusal has no shared memory and a sentence for the learner."""

    status: WelcomeStatus
    message: str = ""
    shared_bytes: int = 0
    host_arena_bytes: int = 0

    def pack(self) -> bytes:
        """The bytes for the client; a message too long is cut at a character."""
        text = self.message.encode()[:511].decode(errors="ignore").encode()
        return WELCOME.pack(
            MAGIC, PROTOCOL_VERSION, self.status, self.shared_bytes, self.host_arena_bytes, text
        )

    @staticmethod
    def unpack(data: bytes) -> Welcome:
        """Reads the ``WELCOME.size`` bytes of a server; raises ValueError."""
        magic, version, status, shared, arena, message = WELCOME.unpack(data)
        if magic != MAGIC or version != PROTOCOL_VERSION:
            raise ValueError("These bytes are not a Welcome of this protocol version.")
        return Welcome(
            WelcomeStatus(status), message.partition(b"\0")[0].decode(errors="replace"), shared, arena
        )


def _ascii(field: bytes, what: str) -> str:
    text, _, rest = field.partition(b"\0")
    if rest.strip(b"\0"):
        raise BadHello(f"The {what} in the Hello is not padded with zeros.")
    try:
        return text.decode("ascii")
    except UnicodeDecodeError:
        raise BadHello(f"The {what} in the Hello is not ASCII.") from None


def _shown(field: bytes) -> str:
    """A name that may be printed into a terminal or a log: no control characters."""
    text = field.partition(b"\0")[0].decode(errors="replace")
    return "".join(c if c.isprintable() else "?" for c in text)
