"""The client side: where the hook libraries are, and the environment that puts a process under a slice."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

HOOK_NAME = "libcuda.so.1"
PROGRAMS = Path(__file__).resolve().parent / "bin"  # nvidia-smi, and nothing else
SESSION_VARIABLES = ("TFUSION_SOCKET", "TFUSION_SLICE", "TFUSION_TOKEN")
NVML_VARIABLES = (
    "TFUSION_VRAM_BYTES",
    "TFUSION_GPU_NAME",
    "TFUSION_DRIVER_VERSION",
)  # read by nvml/slice.cpp


class HookMissing(RuntimeError):
    """The hook library was not built or not installed; the text says what to do."""


def library_path() -> Path:
    """Absolute path of the hook's libcuda.so.1: ``$TFUSION_HOOK_LIB``, or the one installed with this package.

    Raises HookMissing.
    """
    named = os.environ.get("TFUSION_HOOK_LIB", "")
    path = Path(named) if named else Path(__file__).resolve().parent / "lib" / HOOK_NAME
    if not path.is_file():
        if named:
            raise HookMissing(f"TFUSION_HOOK_LIB is {named}, which is not a file. Correct or unset it.")
        raise HookMissing(
            f"The vGPU library is missing ({path}). Install jupyter-tfusion from its wheel, or set TFUSION_HOOK_LIB "
            f"to the {HOOK_NAME} of the hook that was built."
        )
    return path.absolute()


def launch_environment(
    base: Mapping[str, str],
    *,
    session_socket: str | os.PathLike[str],
    slice_id: str,
    token: str,
    library: Path,
    vram_bytes: int = 0,
    gpu_name: str = "",
    driver_version: str = "",
    software: bool = False,
    python: str = sys.executable,
) -> dict[str, str]:
    """The environment in which a program, started with ``base`` otherwise, runs under a slice.

    ``library`` is library_path(); ``session_socket``, ``slice_id`` and ``token`` are what opening the slice returned.
    ``vram_bytes`` (the slice's limit), ``gpu_name`` and ``driver_version`` are what NVML says in processes that have
    no session yet; what is left out (0, "") it calls not supported.
    ``software`` says that the GPU is the software GPU, which runs PTX only: CuPy then compiles to PTX and leaves its
    precompiled accelerators alone, unless ``base`` says otherwise.
    ``python`` is a Python that has this package; it runs the `nvidia-smi` that is then first in PATH. Without one
    ("") PATH stays as it is.
    A program finds the hook in whichever way it looks for the driver: preloaded under the driver's SONAME, first in
    the loader's path (for libnvidia-ml.so.1, which lies beside it), and by the variables of Triton and Numba.
    Pure: neither reads nor changes anything. Raises ValueError if the library's path cannot stand in LD_PRELOAD.
    """
    hook = os.fspath(library)
    folder = os.path.dirname(hook)
    if any(c in hook for c in ": \t\n"):
        raise ValueError(
            f"The vGPU library's path {hook!r} has a space or colon in it, which LD_PRELOAD cannot hold. Install "
            "jupyter-tfusion into a folder without them."
        )
    environment = dict(base)
    environment["TFUSION_SOCKET"] = os.fspath(session_socket)
    environment["TFUSION_SLICE"] = slice_id
    environment["TFUSION_TOKEN"] = token
    facts = (vram_bytes and str(vram_bytes), gpu_name, driver_version)
    for variable, fact in zip(NVML_VARIABLES, facts, strict=True):
        environment.pop(variable, None)  # another slice's
        if fact:
            environment[variable] = fact
    preloaded = base.get("LD_PRELOAD", "").replace(":", " ").split()
    environment["LD_PRELOAD"] = ":".join([hook, *(entry for entry in preloaded if entry != hook)])
    searched = [entry for entry in base.get("LD_LIBRARY_PATH", "").split(":") if entry]
    environment["LD_LIBRARY_PATH"] = ":".join([folder, *(entry for entry in searched if entry != folder)])
    environment["TRITON_LIBCUDA_PATH"] = folder
    environment["NUMBA_CUDA_DRIVER"] = hook
    if python:
        environment["TFUSION_PYTHON"] = python
        ours = os.fspath(PROGRAMS)
        path = [entry for entry in base.get("PATH", os.defpath).split(":") if entry != ours]
        environment["PATH"] = ":".join([ours, *path])
    if software:
        environment.setdefault("CUPY_COMPILE_WITH_PTX", "1")
        environment.setdefault("CUPY_ACCELERATORS", "")
    # Ordinals and UUIDs in CUDA_VISIBLE_DEVICES are the host's; under a slice there is one device. Only the wish for
    # none keeps its meaning.
    if base.get("CUDA_VISIBLE_DEVICES", "").strip() not in ("", "-1"):
        del environment["CUDA_VISIBLE_DEVICES"]
    return environment
