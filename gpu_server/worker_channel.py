"""The control channel between the daemon and one worker: JSON messages on a SOCK_SEQPACKET socket pair.

Worker to daemon: ready (facts), failed (detail), started, ended (reason, detail).
Daemon to worker: session (limits; with the client's connection, the slice's account and the session's turn as file
descriptors), stop (reason). Each packet is one message; the end of the channel means that the other side is gone.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any

MAX_MESSAGE_BYTES = 64 * 1024
MAX_FDS = 8
SESSION_FDS = 5  # client connection, account memfd; the turn's page, orders and bell


class ChannelError(Exception):
    """The other side sent what is no message."""


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends; neither is inheritable yet."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(channel: socket.socket, message: dict[str, Any], fds: list[int] | None = None) -> None:
    """Sends one message; raises OSError when the other side is gone, BlockingIOError when it does not read."""
    data = json.dumps(message).encode()
    if len(data) > MAX_MESSAGE_BYTES:
        raise ValueError(f"a message of {len(data)} bytes does not fit into the control channel")
    if fds:
        socket.send_fds(channel, [data], fds, socket.MSG_NOSIGNAL)
    else:
        channel.send(data, socket.MSG_NOSIGNAL)


def receive(channel: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """The next message and its file descriptors (the caller's to close); (None, []) at the end of the channel.

    Raises ChannelError for anything that is no message, and OSError as recv does.
    """
    # recv_fds() leaves the descriptors inheritable unless told otherwise; MSG_CMSG_CLOEXEC closes that race.
    try:
        data, fds, flags, _ = socket.recv_fds(channel, MAX_MESSAGE_BYTES, MAX_FDS, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        return None, []
    if not data:
        return None, []
    try:
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise ChannelError("a message was cut off")
        message = json.loads(data)
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise ChannelError("a message has no type")
    except (ChannelError, ValueError) as error:
        for fd in fds:
            os.close(fd)
        raise ChannelError(str(error)) from None
    return message, fds
