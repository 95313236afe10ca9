"""The environment of the server's own processes: the embedded daemon and the workers.

Whoever starts one may run under a slice (a learner's kernel starts a daemon, say); the server's processes must not.
"""

from __future__ import annotations

import os
import site
from collections.abc import Mapping
from pathlib import Path

import kernel_hook

PACKAGE_PARENT = Path(__file__).resolve().parent.parent

# What says "I run under a slice" or names the client-side hook; a worker runs under none.
CLIENT_VARIABLES = frozenset(
    {
        "LD_PRELOAD", "LD_AUDIT", "TFUSION_SOCKET", "TFUSION_SLICE", "TFUSION_TOKEN", "TFUSION_SERVER",
        "TFUSION_HOOK_LIB", "TFUSION_VRAM_BYTES", "TFUSION_GPU_NAME", "TFUSION_DRIVER_VERSION",
        "TFUSION_PYTHON",
        "TRITON_LIBCUDA_PATH", "NUMBA_CUDA_DRIVER",
        "CUDA_LAUNCH_BLOCKING", "NOTIFY_SOCKET",
    }
)  # fmt: skip

HOOK_VARIABLES = ("TFUSION_HOOK_LIB", "NUMBA_CUDA_DRIVER")  # hold the path of the hook under a slice


def server_environment(base: Mapping[str, str]) -> dict[str, str]:
    """``base`` for a process of the server: without what puts a process under a slice.

    The package stays importable where it runs from a source tree.
    """
    environment = {name: value for name, value in base.items() if name not in CLIENT_VARIABLES}
    if "PATH" in environment:
        programs = os.fspath(kernel_hook.PROGRAMS)
        environment["PATH"] = ":".join(p for p in environment["PATH"].split(":") if p != programs)
    if "LD_LIBRARY_PATH" in environment:
        folders = [os.path.dirname(base[name]) for name in HOOK_VARIABLES if base.get(name)]
        folders.append(str(PACKAGE_PARENT / "kernel_hook" / "lib"))
        hooks = {os.path.realpath(folder) for folder in folders}
        kept = [
            p for p in environment["LD_LIBRARY_PATH"].split(":") if p and os.path.realpath(p) not in hooks
        ]
        environment["LD_LIBRARY_PATH"] = ":".join(kept)
        if not kept:
            del environment["LD_LIBRARY_PATH"]
    installed = {os.path.realpath(p) for p in (*site.getsitepackages(), site.getusersitepackages())}
    if os.path.realpath(PACKAGE_PARENT) not in installed:
        paths = [p for p in environment.get("PYTHONPATH", "").split(":") if p]
        environment["PYTHONPATH"] = ":".join(
            [str(PACKAGE_PARENT), *(p for p in paths if p != str(PACKAGE_PARENT))]
        )
    return environment
