"""The admin token: who can read it may end, reset and swap out every slice of the daemon.

A file of the daemon's runtime folder, new at each start and gone at the end. It is kept apart from the control socket
so that an administrator can give learners' containers the sockets alone. The daemon writes it before it listens;
jupyter_tfusion reads it, for its host view.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from gpu_server.errors import TFusionError
from gpu_server.runtime_folder import ADMIN_TOKEN_FILE

MOST_BYTES = 1024


def write_admin_token(folder: Path) -> str:
    """A new token, in place of one that a killed daemon left. Precondition: we hold the folder's lock.

    Raises OSError.
    """
    token = secrets.token_hex(32)
    path = folder / ADMIN_TOKEN_FILE
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(fd, 0o600)  # whatever the umask says
        os.write(fd, token.encode())
    finally:
        os.close(fd)
    return token


def remove_admin_token(folder: Path) -> None:
    """The daemon ends; the token is worth nothing from now on."""
    (folder / ADMIN_TOKEN_FILE).unlink(missing_ok=True)


def read_admin_token(control_socket: Path) -> str:
    """The token of the daemon at this socket; raises TFusionError if it cannot be read."""
    path = control_socket.parent / ADMIN_TOKEN_FILE
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            return os.read(fd, MOST_BYTES).decode(errors="replace").strip()
        finally:
            os.close(fd)
    except OSError as error:
        raise TFusionError(
            f"The admin token of the GPU server cannot be read: {path}: {error.strerror}. Slices of others can only be "
            "changed by the user who runs the server, where that file is in reach."
        ) from None
