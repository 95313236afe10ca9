"""`tfusion doctor`: what is wrong with this machine, and what to do.

Each check is a function that returns a Finding. A check never starts a daemon, changes nothing, and any exception in it
is itself a finding.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gpu_server.errors import TFusionError

PROBE_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Finding:
    """The outcome of one check: ``detail`` says what was found; ``advice`` what to do when it is not well."""

    ok: bool
    detail: str
    advice: str = ""


Check = Callable[[], Finding]


class DoctorCommand:
    """`tfusion doctor`; exit status 1 if a check fails."""

    name = "doctor"
    help = "check this machine and say what to do about what is wrong"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the options."""
        parser.add_argument("--server", type=Path, metavar="PATH", help="control socket of a GPU server")

    def run(self, args: argparse.Namespace) -> int:
        """Runs all checks and prints a line for each."""
        failed = 0
        for name, check in checks(args.server):
            try:
                finding = check()
            except TFusionError as error:
                finding = Finding(False, str(error))
            except Exception as error:  # the doctor reports what is broken, however it breaks
                finding = Finding(False, f"{type(error).__name__}: {error}")
            print(f"{'OK  ' if finding.ok else 'FAIL'} {name}: {finding.detail}")
            if finding.advice:
                print(f"     -> {finding.advice}")
            failed += not finding.ok
        print("Everything is well." if not failed else f"{failed} check{'s' if failed != 1 else ''} failed.")
        return 1 if failed else 0


def checks(server: Path | None) -> list[tuple[str, Check]]:
    """All checks in the order in which a learner's call needs what they check."""
    return [
        ("vGPU library", check_hook),
        ("replay core", check_replay_core),
        ("shared memory", check_memfd),
        ("runtime folder", check_runtime_folder),
        ("GPU driver", check_driver),
        ("software GPU", check_software_gpu),
        ("GPU server", lambda: check_server(server)),
        ("Jupyter kernels", check_kernelspecs),
    ]


def check_hook() -> Finding:
    """The hook is built, and the loader takes it into a process of its own."""
    import kernel_hook

    try:
        path = kernel_hook.library_path()
    except kernel_hook.HookMissing as error:
        return Finding(False, "not built", str(error))
    probe = "import ctypes, sys; ctypes.CDLL(sys.argv[1]).cuInit"
    return _loads(
        probe, [str(path)], str(path), "Install jupyter-tfusion again; the library fits another machine."
    )


def check_replay_core() -> Finding:
    """The worker's C++ core can be imported."""
    return _loads(
        "import gpu_server._replay",
        [],
        "gpu_server._replay",
        "Install jupyter-tfusion from its wheel for this machine.",
    )


def check_memfd() -> Finding:
    """Shared memory for sessions can be made."""
    try:
        fd = os.memfd_create("tfusion-doctor", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError as error:
        return Finding(
            False, f"memfd_create: {error.strerror}", "Allow memfd_create in the container's seccomp profile."
        )
    try:
        os.ftruncate(fd, 1 << 20)
        os.pwrite(fd, b"x", 0)
    except OSError as error:
        return Finding(
            False, f"memfd: {error.strerror}", "Raise the memory limit of this machine or container."
        )
    finally:
        os.close(fd)
    return Finding(True, "memfd works")


def check_runtime_folder() -> Finding:
    """The default runtime folder is ours alone, or can be made."""
    from gpu_server.runtime_folder import check_private, default_folder

    folder = default_folder()
    if not folder.is_symlink() and not folder.exists():
        if os.access(folder.parent, os.W_OK | os.X_OK):
            return Finding(True, f"{folder} will be made when it is needed")
        return Finding(False, f"{folder} cannot be made", "Set XDG_RUNTIME_DIR to a folder of your own.")
    check_private(folder)
    return Finding(True, f"{folder}")


def check_driver() -> Finding:
    """The host's NVIDIA driver, if it has any: a host without one is well too."""
    from gpu_server.driver_library import find_host_driver
    from gpu_server.gpus import Nvml

    driver = find_host_driver()
    gpus = Nvml().gpus()
    if driver is None and not gpus:
        return Finding(True, "no NVIDIA GPU on this host; the software GPU will be used")
    if driver is None:
        return Finding(
            False,
            f"NVML reports {len(gpus)} GPU(s), but no libcuda.so.1 of the driver was found",
            "Install the driver's CUDA library (in a container: NVIDIA_DRIVER_CAPABILITIES=compute,utility).",
        )
    if not gpus:
        return Finding(
            False,
            f"{driver} is there, but NVML reports no GPU",
            "Run nvidia-smi; repair the driver if it fails too.",
        )
    return Finding(True, f"{driver}, {', '.join(gpu.name for gpu in gpus)}, driver {gpus[0].driver_version}")


def check_software_gpu() -> Finding:
    """The software GPU is built and loads."""
    from gpu_server.driver_library import find_software_gpu

    try:
        path = find_software_gpu()
    except TFusionError as error:
        return Finding(False, "not usable", str(error))
    probe = "import ctypes, sys; ctypes.CDLL(sys.argv[1]).cuInit"
    return _loads(
        probe, [str(path)], str(path), "Install jupyter-tfusion again; the library fits another machine."
    )


def check_server(server: Path | None) -> Finding:
    """The daemon answers, if one is configured or runs."""
    from gpu_server.client import SERVER_VARIABLE, connect
    from gpu_server.runtime_folder import CONTROL_SOCKET, default_folder, is_alive
    from gpu_server.sizes import format_size

    named = server or (Path(os.environ[SERVER_VARIABLE]) if os.environ.get(SERVER_VARIABLE) else None)
    path = named or default_folder() / CONTROL_SOCKET
    if named is None and not is_alive(path):
        return Finding(True, "none runs; a vGPU kernel or 'tfusion run' starts one by itself")
    try:
        with connect(path) as client:
            gpus = client.list_gpus()
            slices = client.list_slices()
    except TFusionError as error:
        return Finding(
            False, f"{path}: {error}", "Start it there with 'tfusion serve', or correct TFUSION_SERVER."
        )
    shared = ", ".join(f"{gpu.name} with {format_size(gpu.memory_bytes)}" for gpu in gpus)
    return Finding(True, f"{path} shares {shared}; {len(slices)} slice(s) open")


def check_kernelspecs() -> Finding:
    """At least one kernel specification asks for a virtual GPU."""
    from jupyter_client.kernelspec import KernelSpecManager

    found = []
    for name, spec in KernelSpecManager().get_all_specs().items():
        provisioner = spec["spec"].get("metadata", {}).get("kernel_provisioner", {})
        if provisioner.get("provisioner_name") == "tfusion-provisioner":
            found.append(name)
    if not found:
        return Finding(False, "no vGPU kernel is installed", "Run: tfusion kernelspec install")
    return Finding(True, ", ".join(sorted(found)))


def _loads(probe: str, arguments: list[str], what: str, advice: str) -> Finding:
    """Runs a probe in a process of its own: a library that crashes must not take the doctor along."""
    from gpu_server.server_environment import server_environment

    try:
        result = subprocess.run(
            [sys.executable, "-c", probe, *arguments],
            env=server_environment(os.environ),
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Finding(False, f"{what} does not load within {PROBE_TIMEOUT_S:g} s", advice)
    if result.returncode < 0:
        return Finding(False, f"{what} crashes when it is loaded (signal {-result.returncode})", advice)
    if result.returncode > 0:
        last = result.stderr.strip().splitlines()[-1:] or ["no reason given"]
        return Finding(False, f"{what} does not load: {last[0]}", advice)
    return Finding(True, what)
