"""The daemon's runtime folder: its sockets, its lock and its log, private to one user.

Used by the daemon, which owns what is in it, and by clients, which only look up names. What must hold: the folder
belongs to us and nobody else can enter it, so whoever reaches a socket in it is us (or root). The lock file is held
with flock for the daemon's whole life and is never deleted: deleting it would let two daemons hold "the" lock.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from pathlib import Path

from gpu_server.errors import TFusionError

CONTROL_SOCKET = "control.sock"
SESSION_SOCKET = "session.sock"
LOCK_FILE = "daemon.lock"
LOG_FILE = "embedded.log"
ADMIN_TOKEN_FILE = "admin.token"
MAX_SOCKET_PATH_BYTES = 107  # sockaddr_un.sun_path less its NUL


class AlreadyRunning(TFusionError):
    """Another daemon holds the folder."""


def default_folder() -> Path:
    """``$XDG_RUNTIME_DIR/tfusion``, or ``/tmp/tfusion-<uid>`` where there is no such variable."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime and os.path.isabs(runtime) and os.path.isdir(runtime):
        return Path(runtime) / "tfusion"
    return Path("/tmp") / f"tfusion-{os.geteuid()}"  # not $TMPDIR: all of a user's programs must agree


def check_private(folder: Path) -> None:
    """Raises TFusionError with a sentence unless ``folder`` is a real folder, ours, and closed to others."""
    try:
        status = folder.lstat()
    except OSError as error:
        raise TFusionError(f"The runtime folder {folder} cannot be used: {error.strerror}.") from None
    if not stat.S_ISDIR(status.st_mode):
        raise TFusionError(
            f"The runtime folder {folder} is not a folder (or is a link). Remove it and start again."
        )
    if status.st_uid != os.geteuid():
        raise TFusionError(
            f"The runtime folder {folder} belongs to another user (uid {status.st_uid}). Set XDG_RUNTIME_DIR to a "
            "folder of your own, or give --socket a path in one."
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise TFusionError(
            f"The runtime folder {folder} is open to other users (mode {stat.S_IMODE(status.st_mode):04o}). "
            f"If it is meant for this alone, run: chmod 700 {folder}; otherwise choose a folder of its own."
        )


def make_private(folder: Path) -> None:
    """Makes the folder with mode 0700 if it is missing, and checks it; raises TFusionError."""
    try:
        folder.mkdir(mode=0o700)
        os.chmod(folder, 0o700)  # the umask may have taken bits away
    except FileExistsError:
        pass
    except OSError as error:
        raise TFusionError(f"The runtime folder {folder} cannot be made: {error.strerror}.") from None
    check_private(folder)


def check_socket_path(path: Path) -> None:
    """Raises TFusionError if the path is too long for a Unix socket."""
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        raise TFusionError(
            f"The socket path {path} is too long: Unix sockets allow {MAX_SOCKET_PATH_BYTES} bytes. "
            "Choose a shorter one."
        )


def is_alive(path: Path) -> bool:
    """Something accepts connections at this Unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2.0)
        try:
            probe.connect(os.fspath(path))
        except OSError:
            return False
        return True


class FolderLock:
    """The daemon's hold on its runtime folder, until release() or the end of the process."""

    def __init__(self, folder: Path) -> None:
        """Takes the lock at once; raises AlreadyRunning, or TFusionError if the folder cannot be written."""
        path = folder / LOCK_FILE
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise TFusionError(f"The lock file {path} cannot be opened: {error.strerror}.") from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(self._fd, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            raise AlreadyRunning(
                f"A GPU server already runs in {folder} (process {pid}). Use it, stop it, or give --socket a path "
                "in another folder."
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Lets the next daemon in."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def remove_stale_socket(path: Path) -> None:
    """Removes what a killed daemon left. Precondition: we hold the folder's lock. Raises TFusionError."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise TFusionError(f"{path} is in the way and is not a socket. Remove it, or choose another path.")
    if is_alive(path):
        raise AlreadyRunning(f"Another program answers at {path}. Stop it, or choose another path.")
    path.unlink()
