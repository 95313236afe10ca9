"""Keeps the folder of cached module images, which workers fill and read, within its size.

The daemon calls trim() at its start and then now and then, off the event loop. Workers open images by name and may
have one mapped while it is removed; that is harmless, the file lives until they let go.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from gpu_server.errors import TFusionError


def prepare(folder: Path) -> None:
    """Makes the folder, private to us; raises TFusionError with a sentence."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        raise TFusionError(
            f"The image cache folder {folder} cannot be used: {error.strerror}. Set "
            "TFusionServer.image_cache_folder to one that can."
        ) from None
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o022:
        # Whoever can write here decides what code runs on the GPU for every learner.
        raise TFusionError(
            f"The image cache folder {folder} can be written by others. Set TFusionServer.image_cache_folder to a "
            "folder of your own."
        )


def trim(folder: Path, limit_bytes: int) -> int:
    """Removes the least recently used files until the rest takes at most ``limit_bytes``; gives the bytes removed.

    Use is the newer of access and change time. Files that vanish meanwhile are skipped.
    """
    found: list[tuple[float, int, Path]] = []
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent) / name
            try:
                status = path.lstat()
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode):
                found.append((max(status.st_atime, status.st_mtime), status.st_size, path))
    total = sum(size for _, size, _ in found)
    removed = 0
    for _, size, path in sorted(found):
        if total - removed <= limit_bytes:
            break
        try:
            path.unlink()
        except OSError:
            continue
        removed += size
    return removed
