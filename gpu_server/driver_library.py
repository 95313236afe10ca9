"""Finds the libcuda.so.1 that workers open: the host's driver, or the software GPU. Never our own hook.

The hook answers to the same name, so a candidate is refused when it is the hook's file, or has the hook's mark in it
(every hook reads the variable TFUSION_TOKEN, no driver does).
"""

from __future__ import annotations

import mmap
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from gpu_server.errors import TFusionError

KNOWN_FOLDERS = (
    "/usr/local/nvidia/lib64",
    "/usr/local/nvidia/lib",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib/wsl/lib",
    "/usr/lib",
    "/run/opengl-driver/lib",
    "/usr/local/cuda/compat",
)
HOOK_MARK = b"TFUSION_TOKEN"
SOFTWARE_LIBRARY = Path(__file__).resolve().parent / "software" / "lib" / "libcuda.so.1"


def is_hook(path: Path) -> bool:
    """The file is a client-side hook rather than a driver. Raises OSError if it cannot be read."""
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(HOOK_MARK) >= 0


def find_host_driver(configured: str = "") -> Path | None:
    """The host's libcuda.so.1, or None if there is none.

    Raises TFusionError when ``configured`` names a file that cannot be the driver.
    """
    if configured:
        return _checked(Path(configured), "TFusionServer.driver_library")
    for candidate in _candidates():
        try:
            if candidate.is_file() and not is_hook(candidate):
                return candidate
        except OSError:
            continue
    return None


def find_software_gpu(configured: str = "") -> Path:
    """The software GPU's library; raises TFusionError if it was not built."""
    for named, origin in (
        (configured, "TFusionServer.software_library"),
        (os.environ.get("TFUSION_SOFTWARE_GPU_LIB", ""), "TFUSION_SOFTWARE_GPU_LIB"),
    ):
        if named:
            return _checked(Path(named), origin)
    if not SOFTWARE_LIBRARY.is_file():
        raise TFusionError(
            f"The software GPU is missing ({SOFTWARE_LIBRARY}). Install jupyter-tfusion from its wheel, or set "
            "TFUSION_SOFTWARE_GPU_LIB to the libcuda.so.1 that was built."
        )
    return SOFTWARE_LIBRARY


def _checked(path: Path, origin: str) -> Path:
    try:
        if not path.is_file():
            raise TFusionError(f"{origin} is {path}, which is not a file. Correct it.")
        if is_hook(path):
            raise TFusionError(
                f"{origin} is {path}, which is the client-side hook, not a GPU driver. Correct it."
            )
    except OSError as error:
        raise TFusionError(f"{origin} is {path}, which cannot be read: {error.strerror}.") from None
    return path.absolute()


def _candidates() -> Iterator[Path]:
    for folder in KNOWN_FOLDERS:
        yield Path(folder) / "libcuda.so.1"
    yield from _linker_cache()


def _linker_cache() -> Iterator[Path]:
    for ldconfig in ("/sbin/ldconfig", "/usr/sbin/ldconfig", "ldconfig"):
        try:
            listing = subprocess.run(
                [ldconfig, "-p"], capture_output=True, text=True, timeout=10, check=True
            ).stdout
        except (OSError, subprocess.SubprocessError):
            continue
        for line in listing.splitlines():
            name, _, path = line.strip().partition(" => ")
            if name.startswith("libcuda.so.1 ") and path:
                yield Path(path)
        return
