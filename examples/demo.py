"""Three learners on one GPU: what `make demo` runs.

Starts a daemon of its own (on the host's GPU if it has one, else on the software GPU), installs the vGPU kernelspec
in a temporary folder, starts one kernel per learner through the provisioner, so that three slices of one GPU are open
at once, and runs a different lab notebook in each at the same time. Then prints a table.

Exit status: 0 if every notebook checked out, all slices were on one GPU and nothing is left behind; else 1, with a
sentence on stderr.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from gpu_server import client as control
from gpu_server.errors import TFusionError
from gpu_server.sizes import format_size
from jupyter_tfusion.kernelspec import DEFAULT_KERNEL_NAME, install_kernelspec

EXAMPLES = Path(__file__).resolve().parent
LABS = {
    "Ada": "01-first-kernel-saxpy.ipynb",
    "Blaise": "02-thread-indexing-mandelbrot.ipynb",
    "Chandra": "04-reduction.ipynb",
}
SLICE_VRAM = "256MiB"
CELL_TIMEOUT_S = 240
DAEMON_START_TIMEOUT_S = 120


class DemoError(Exception):
    """The demo did not do what it should; str() is the sentence for the user."""


@dataclass
class Learner:
    """One learner's kernel, and what came of it."""

    name: str
    notebook: Path
    manager: AsyncKernelManager
    slice_id: str = ""
    vram_bytes: int = 0
    used_bytes: int = 0
    calls: int = 0
    wall_s: float = 0.0
    problem: str = ""
    details: list[str] = field(default_factory=list)
    log: Path | None = None


@contextmanager
def running_daemon(folder: Path) -> Iterator[Path]:
    """A daemon with its socket in the folder; ended, with its workers, when the block is left."""
    socket = folder / "gpu" / "control.sock"
    log = folder / "daemon.log"
    with log.open("wb") as output:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "gpu_server.cli", "serve", "--device", "auto", "--socket", str(socket)],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            cwd=folder,
        )
    try:
        wait_for_daemon(daemon, socket, log)
        yield socket
    finally:
        daemon.send_signal(signal.SIGTERM)
        try:
            daemon.wait(timeout=30)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
        # The daemon's workers share its process group; if any is left, the daemon did not clean up.
        try:
            os.killpg(daemon.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        else:
            raise DemoError(f"The daemon ended with status {daemon.returncode} and left processes behind.")


def wait_for_daemon(daemon: subprocess.Popen[bytes], socket: Path, log: Path) -> None:
    """Returns once the daemon answers; raises DemoError with the end of its log if it ends or takes too long."""
    deadline = time.monotonic() + DAEMON_START_TIMEOUT_S
    while daemon.poll() is None and time.monotonic() < deadline:
        try:
            control.connect(socket).list_gpus()
            return
        except TFusionError:
            time.sleep(0.1)  # between two looks
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    raise DemoError(f"The GPU daemon did not start. The end of its log:\n{tail}")


async def run_labs(socket: Path, folder: Path) -> list[Learner]:
    """Starts a kernel per learner, runs all notebooks at the same time, and shuts the kernels down."""
    specs = KernelSpecManager(
        kernel_dirs=[str(folder / "share" / "jupyter" / "kernels")], ensure_native_kernel=False
    )
    learners = [
        Learner(
            name,
            EXAMPLES / lab,
            AsyncKernelManager(kernel_name=DEFAULT_KERNEL_NAME, kernel_spec_manager=specs),
        )
        for name, lab in LABS.items()
    ]
    try:
        # All kernels first: the slices shall be open at once.
        await asyncio.gather(*(start_kernel(learner, folder) for learner in learners))
        daemon = await asyncio.to_thread(control.connect, socket)
        slices = {row.kernel_id: row for row in await asyncio.to_thread(daemon.list_slices)}
        if len({row.gpu_uuid for row in slices.values()}) != 1 or len(slices) != len(learners):
            raise DemoError(f"Expected {len(learners)} slices of one GPU, found {len(slices)}.")
        for learner in learners:
            row = slices[learner.manager.kernel_id]
            learner.slice_id, learner.vram_bytes = row.slice_id, row.vram_bytes
        await asyncio.gather(*(run_lab(learner, daemon) for learner in learners))
    finally:
        started = [learner.manager for learner in learners if learner.manager.has_kernel]
        await asyncio.gather(*(manager.shutdown_kernel(now=True) for manager in started))
    if left := await asyncio.to_thread(daemon.list_slices):
        raise DemoError(f"{len(left)} slices are still open after their kernels were shut down.")
    return learners


async def start_kernel(learner: Learner, folder: Path) -> None:
    """Starts the learner's kernel; what its process says on stderr is kept for the case that something goes wrong."""
    learner.log = folder / f"kernel-{learner.name}.log"
    with learner.log.open("wb") as log:
        await learner.manager.start_kernel(cwd=str(folder), stdout=log, stderr=log)


async def run_lab(learner: Learner, daemon: control.ControlClient) -> None:
    """Runs one learner's notebook and notes the time, what the slice held at the end, and what went wrong."""
    notebook = nbformat.read(learner.notebook, as_version=4)
    client = NotebookClient(notebook, km=learner.manager, timeout=CELL_TIMEOUT_S)
    begin = time.monotonic()
    try:
        await client.async_execute()
        verdict = "".join(out.get("text", "") for out in notebook.cells[-1].outputs)
        if "checks out" not in verdict:
            learner.problem = f"the last cell printed {verdict!r}"
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        learner.problem = str(error).strip().splitlines()[-1]
        learner.details = [str(error), learner.log.read_text(errors="replace") if learner.log else ""]
    finally:
        learner.wall_s = time.monotonic() - begin
        if client.kc is not None:
            client.kc.stop_channels()
    sessions = [
        row for row in await asyncio.to_thread(daemon.list_sessions) if row.slice_id == learner.slice_id
    ]
    learner.used_bytes = sum(row.used_bytes for row in sessions)
    learner.calls = sum(row.calls for row in sessions)
    if not sessions and not learner.problem:
        learner.problem = "the notebook never used the slice"


def print_table(rows: list[list[str]]) -> None:
    """Prints rows under the first as columns of equal width."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for number, row in enumerate(rows):
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))


def demo() -> None:
    """Runs everything; raises DemoError or TFusionError with a sentence."""
    missing = [lab for lab in LABS.values() if not (EXAMPLES / lab).exists()]
    if missing:
        raise DemoError(
            f"The notebook {missing[0]} is missing in {EXAMPLES}. Run the demo from a complete checkout."
        )
    with tempfile.TemporaryDirectory(prefix="tfusion-demo-", ignore_cleanup_errors=False) as scratch:
        folder = Path(scratch)
        # Whatever Jupyter, IPython and Matplotlib write goes where it is removed again.
        for variable in (
            "JUPYTER_RUNTIME_DIR",
            "JUPYTER_DATA_DIR",
            "IPYTHONDIR",
            "MPLCONFIGDIR",
            "XDG_CACHE_HOME",
        ):
            os.environ[variable] = str(folder / variable.lower())
            Path(os.environ[variable]).mkdir()
        os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
        print("Starting the GPU daemon ...", flush=True)
        with running_daemon(folder) as socket:
            gpu = control.connect(socket).list_gpus()[0]
            print(f"{len(LABS)} learners share {gpu.name} ({format_size(gpu.memory_bytes)})", flush=True)
            install_kernelspec(vram=SLICE_VRAM, server=str(socket), prefix=str(folder))
            learners = asyncio.run(run_labs(socket, folder))
    header = ["learner", "notebook", "slice", "VRAM limit", "in use", "CUDA calls", "wall time", "result"]
    rows = [
        [
            learner.name,
            learner.notebook.stem,
            learner.slice_id[:8],
            format_size(learner.vram_bytes),
            format_size(learner.used_bytes),
            f"{learner.calls:,}",
            f"{learner.wall_s:.1f} s",
            learner.problem or "checks out",
        ]
        for learner in learners
    ]
    print()
    print_table([header, *rows])
    if failed := [learner for learner in learners if learner.problem]:
        for learner in failed:
            print("\n".join([f"{learner.name}:", *learner.details]), file=sys.stderr)
        raise DemoError(f"{len(failed)} of {len(learners)} notebooks did not check out.")
    print(f"\nAll {len(learners)} notebooks ran at the same time on one GPU and agree with NumPy.")


def main() -> int:
    """Runs the demo; returns the exit status."""

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    # Ended from outside, it cleans up all the same.
    signal.signal(signal.SIGTERM, interrupt)
    try:
        demo()
    except (DemoError, TFusionError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
