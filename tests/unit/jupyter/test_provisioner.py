"""A kernel's slice through the kernel's life: start, restart, death, shutdown, and every way a start can fail.

Real kernel managers, real kernels, a real daemon; see conftest.py.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager, KernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from nbclient import NotebookClient
from traitlets.config import Config

from jupyter_tfusion import provisioner as provisioner_module
from jupyter_tfusion.provisioner import TFusionProvisioner
from jupyter_tfusion.start_error import KernelStartError

KERNEL = "python3-vgpu"

pytestmark = pytest.mark.usefixtures("hook")


@pytest.fixture
async def managers() -> AsyncIterator[Callable[..., AsyncKernelManager]]:
    made: list[AsyncKernelManager] = []

    def make(specs: KernelSpecManager, **settings: Any) -> AsyncKernelManager:
        made.append(AsyncKernelManager(kernel_name=KERNEL, kernel_spec_manager=specs, **settings))
        return made[-1]

    yield make
    for manager in made:
        if manager.has_kernel:
            await manager.shutdown_kernel(now=True)


async def environment_of(manager: AsyncKernelManager) -> dict[str, str]:
    """The environment that the running kernel's process was started with."""
    assert manager.provisioner is not None
    raw = Path(f"/proc/{manager.provisioner.pid}/environ").read_bytes().split(b"\0")
    return dict(entry.decode().split("=", 1) for entry in raw if entry)


async def run_code(manager: AsyncKernelManager, code: str) -> str:
    """What the code prints in the kernel."""
    client = manager.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=60)
        printed: list[str] = []

        def collect(message: dict) -> None:
            printed.append(message["content"].get("text", ""))

        reply = await client.execute_interactive(code, timeout=60, output_hook=collect)
        assert reply["content"]["status"] == "ok"
        return "".join(printed)
    finally:
        client.stop_channels()


# -- a kernel's ordinary life


async def test_a_started_kernel_has_a_slice_of_its_size_and_a_stopped_one_has_none(
    daemon, specs, managers
) -> None:
    manager = managers(specs(daemon.socket, vram="384MiB", share=2.0))
    await manager.start_kernel()
    (row,) = daemon.client.list_slices()
    assert row.vram_bytes == 384 * 2**20
    assert row.share == 2.0
    assert row.kernel_id == manager.kernel_id
    assert row.owner
    await manager.shutdown_kernel(now=True)
    assert daemon.slice_ids() == []


async def test_the_kernel_runs_in_the_environment_of_its_slice_and_keeps_its_own(
    daemon, specs, managers, hook, monkeypatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/course/lib")
    manager = managers(specs(daemon.socket))
    await manager.start_kernel(env={**os.environ, "COURSE": "cuda-101"})
    environment = await environment_of(manager)
    (slice_id,) = daemon.slice_ids()
    assert environment["TFUSION_SLICE"] == slice_id
    assert environment["LD_PRELOAD"].split(":")[0] == str(hook)
    assert environment["LD_LIBRARY_PATH"].split(":")[-1] == "/opt/course/lib"
    assert environment["COURSE"] == "cuda-101"
    assert (await run_code(manager, "print(6 * 7)")).strip() == "42"


async def test_the_servers_own_environment_stays_as_it_was(daemon, specs, managers) -> None:
    before = dict(os.environ)
    manager = managers(specs(daemon.socket))
    await manager.start_kernel()
    assert dict(os.environ) == before


async def test_the_slice_is_named_after_the_notebook(daemon, specs, managers) -> None:
    manager = managers(specs(daemon.socket))
    await manager.start_kernel(env={**os.environ, "JPY_SESSION_NAME": "/home/ada/labs/01-saxpy.ipynb"})
    (row,) = daemon.client.list_slices()
    assert row.name == "01-saxpy.ipynb"


async def test_a_kernel_that_lives_longer_than_the_time_to_live_keeps_its_slice(
    start_daemon, specs, managers, eventually
) -> None:
    daemon = start_daemon(slice_ttl_s=0.6)
    manager = managers(specs(daemon.socket))
    await manager.start_kernel()
    (slice_id,) = daemon.slice_ids()
    eventually(lambda: daemon.client.list_slices()[0].age_s > 2.0)
    assert daemon.slice_ids() == [slice_id]


# -- restarts


async def test_a_restarted_kernel_has_the_same_slice(daemon, specs, managers) -> None:
    manager = managers(specs(daemon.socket))
    await manager.start_kernel()
    before, pid = daemon.slice_ids(), manager.provisioner.pid
    await manager.restart_kernel(now=True)
    assert manager.provisioner.pid != pid
    assert daemon.slice_ids() == before
    assert (await environment_of(manager))["TFUSION_SLICE"] == before[0]
    # The way back from a restart must not have stacked one environment onto the other.
    assert (await environment_of(manager))["LD_PRELOAD"].count("libc.so") == 1


async def test_a_restarted_kernel_whose_slice_is_gone_gets_a_new_one(daemon, specs, managers) -> None:
    manager = managers(specs(daemon.socket))
    await manager.start_kernel()
    (first,) = daemon.slice_ids()
    daemon.client.close_slice(first, manager.provisioner._lease.opened.token)
    await manager.restart_kernel(now=True)
    (second,) = daemon.slice_ids()
    assert second != first
    assert (await environment_of(manager))["TFUSION_SLICE"] == second


async def test_a_restart_after_the_daemon_was_replaced_gets_a_slice_of_the_new_one(
    daemon, specs, managers
) -> None:
    manager = managers(specs(daemon.socket))
    await manager.start_kernel()
    folder = daemon.socket.parent
    daemon.stop()
    replacement = type(daemon)(folder.parent / "other", 60.0)
    try:
        manager.provisioner.server = str(replacement.socket)
        await manager.restart_kernel(now=True)
        assert len(replacement.slice_ids()) == 1
        await manager.shutdown_kernel(now=True)
        assert replacement.slice_ids() == []
    finally:
        replacement.stop()


# -- starts that fail


async def test_a_full_gpu_is_said_at_once_and_in_a_sentence(daemon, specs, managers) -> None:
    held = daemon.client.open_slice("somebody else's", vram_bytes=900 * 2**20)
    begin = time.monotonic()
    with pytest.raises(KernelStartError) as caught:
        await managers(specs(daemon.socket)).start_kernel()
    assert time.monotonic() - begin < 10, "the daemon's answer takes milliseconds; this waited for a timeout"
    assert str(caught.value).startswith("This kernel got no GPU slice. All GPU memory is in use")
    assert caught.value.status_code == 503
    assert daemon.slice_ids() == [held.slice_id]


async def test_an_unreachable_daemon_is_said_at_once_and_in_a_sentence(tmp_path, specs, managers) -> None:
    with pytest.raises(KernelStartError, match="does not answer") as caught:
        await managers(specs(tmp_path / "nobody.sock")).start_kernel()
    assert caught.value.status_code == 503


async def test_a_slice_larger_than_the_gpu_is_the_administrators_matter(daemon, specs, managers) -> None:
    with pytest.raises(KernelStartError) as caught:
        await managers(specs(daemon.socket, vram="2TiB")).start_kernel()
    assert "2.0 TiB" in str(caught.value)


async def test_a_kernelspec_with_a_broken_size_says_which(daemon, specs, managers, tmp_path) -> None:
    manager_of_specs = specs(daemon.socket)
    file = tmp_path / "share/jupyter/kernels" / KERNEL / "kernel.json"
    spec = json.loads(file.read_text())
    spec["metadata"]["kernel_provisioner"]["config"]["vram"] = "a lot"
    file.write_text(json.dumps(spec))
    with pytest.raises(KernelStartError, match="'a lot' is not a size of memory") as caught:
        await managers(manager_of_specs).start_kernel()
    assert caught.value.status_code == 500


async def test_a_missing_hook_is_said_before_a_slice_is_opened(daemon, specs, managers, monkeypatch) -> None:
    monkeypatch.setenv("TFUSION_HOOK_LIB", "/nowhere/libcuda.so.1")
    with pytest.raises(KernelStartError, match="TFUSION_HOOK_LIB"):
        await managers(specs(daemon.socket)).start_kernel()
    assert daemon.client.list_slices() == []


async def test_a_kernel_that_cannot_be_launched_leaves_no_slice_and_no_ports(
    daemon, specs, managers, tmp_path
) -> None:
    manager_of_specs = specs(daemon.socket)
    file = tmp_path / "share/jupyter/kernels" / KERNEL / "kernel.json"
    spec = json.loads(file.read_text())
    spec["argv"][0] = "/nowhere/python"
    file.write_text(json.dumps(spec))
    manager = managers(manager_of_specs)
    with pytest.raises(FileNotFoundError):
        await manager.start_kernel()
    assert daemon.slice_ids() == []
    assert not manager.provisioner.ports_cached


async def test_an_error_in_jupyters_own_preparation_leaves_no_slice(
    daemon, specs, managers, monkeypatch
) -> None:
    opened: list[list[str]] = []

    async def fail(self: LocalProvisioner, **kwargs: Any) -> None:
        opened.append(daemon.slice_ids())
        raise RuntimeError("no port left")

    monkeypatch.setattr(LocalProvisioner, "pre_launch", fail)
    with pytest.raises(RuntimeError, match="no port left"):
        await managers(specs(daemon.socket)).start_kernel()
    assert len(opened[0]) == 1, "the slice was open when the error came"
    assert daemon.slice_ids() == []


async def test_a_start_that_is_cancelled_while_the_daemon_answers_leaves_no_slice(
    daemon, specs, managers, monkeypatch, eventually
) -> None:
    asked, go_on = threading.Event(), threading.Event()
    real_connect = provisioner_module.connect

    def slow_connect(socket: Path | None = None) -> Any:
        asked.set()
        go_on.wait()
        return real_connect(socket)

    monkeypatch.setattr(provisioner_module, "connect", slow_connect)
    start = asyncio.ensure_future(managers(specs(daemon.socket)).start_kernel())
    await asyncio.to_thread(asked.wait)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    watch = daemon.client.watch_events()
    go_on.set()
    seen = [
        event.kind.name for event, _ in zip(await asyncio.to_thread(first_two, watch), range(2), strict=True)
    ]
    watch.close()
    assert seen == ["SLICE_OPENED", "SLICE_CLOSED"]
    assert daemon.slice_ids() == []


def first_two(stream: Any) -> list[Any]:
    events = iter(stream)
    return [next(events), next(events)]


async def test_the_event_loop_runs_on_while_the_daemon_is_slow(daemon, specs, managers, monkeypatch) -> None:
    go_on = threading.Event()
    real_connect = provisioner_module.connect

    def slow_connect(socket: Path | None = None) -> Any:
        assert go_on.wait(60)
        return real_connect(socket)

    monkeypatch.setattr(provisioner_module, "connect", slow_connect)
    start = asyncio.ensure_future(managers(specs(daemon.socket)).start_kernel())
    for _ in range(100):  # were the loop blocked, this would never come to its end
        await asyncio.sleep(0)
    go_on.set()
    await start
    assert len(daemon.slice_ids()) == 1


# -- ends that nobody announces


async def test_a_kernel_that_died_and_was_not_restarted_gives_its_slice_back(
    daemon, specs, managers, eventually
) -> None:
    manager = managers(specs(daemon.socket), config=Config(TFusionProvisioner={"dead_kernel_grace_s": 0.05}))
    await manager.start_kernel()
    os.kill(manager.provisioner.pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while daemon.slice_ids():
        await manager.is_alive()  # as the restarter asks, until it gives up
        await asyncio.sleep(0.01)
        assert time.monotonic() < deadline


async def test_a_kernel_that_died_and_is_restarted_in_time_keeps_its_slice(daemon, specs, managers) -> None:
    manager = managers(specs(daemon.socket))
    await manager.start_kernel()
    before = daemon.slice_ids()
    os.kill(manager.provisioner.pid, signal.SIGKILL)
    while await manager.is_alive():
        await asyncio.sleep(0.01)
    await manager.restart_kernel(now=True)
    assert await manager.is_alive()
    assert daemon.slice_ids() == before


async def test_a_provisioner_that_is_dropped_gives_the_slice_back(daemon, specs, eventually) -> None:
    spec = specs(daemon.socket).get_kernel_spec(KERNEL)
    config = spec.metadata["kernel_provisioner"]["config"]
    provisioner = TFusionProvisioner(kernel_id="4f0c", kernel_spec=spec, parent=None, **config)
    await provisioner.pre_launch(env={})
    assert len(daemon.slice_ids()) == 1
    del provisioner

    def gone() -> bool:
        gc.collect()
        return daemon.slice_ids() == []

    eventually(gone)


def test_a_program_that_ends_without_shutting_its_kernel_down_gives_the_slice_back(
    daemon, specs, tmp_path
) -> None:
    specs(daemon.socket)
    program = """if True:
        import sys
        from jupyter_client.kernelspec import KernelSpecManager
        from jupyter_client.manager import KernelManager
        specs = KernelSpecManager(kernel_dirs=[sys.argv[1]], ensure_native_kernel=False)
        manager = KernelManager(kernel_name="python3-vgpu", kernel_spec_manager=specs)
        manager.start_kernel()
        print("started", manager.provisioner.pid, flush=True)
    """
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "share/jupyter/kernels")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "started" in done.stdout, done.stderr
    os.kill(int(done.stdout.split()[-1]), signal.SIGKILL)
    assert daemon.slice_ids() == []


# -- other managers


def test_a_blocking_manager_keeps_the_slice_though_no_event_loop_runs(
    start_daemon, specs, eventually
) -> None:
    daemon = start_daemon(slice_ttl_s=0.6)
    manager = KernelManager(kernel_name=KERNEL, kernel_spec_manager=specs(daemon.socket))
    manager.start_kernel()
    try:
        before = daemon.slice_ids()
        eventually(lambda: daemon.client.list_slices()[0].age_s > 2.0)
        assert daemon.slice_ids() == before
    finally:
        manager.shutdown_kernel(now=True)
    assert daemon.slice_ids() == []


async def test_another_manager_can_take_a_running_kernel_over(
    start_daemon, specs, managers, eventually
) -> None:
    daemon = start_daemon(slice_ttl_s=1.0)
    kernel_specs = specs(daemon.socket)
    manager = managers(kernel_specs)
    await manager.start_kernel()
    saved = json.loads(json.dumps(await manager.provisioner.get_provisioner_info(), default=bytes.decode))
    before = daemon.slice_ids()
    # The first manager's process is gone: nobody renews any more.
    manager.provisioner._lease._wake.set()
    manager.provisioner._lease._heartbeat.join()

    successor = TFusionProvisioner(
        kernel_id=manager.kernel_id, kernel_spec=kernel_specs.get_kernel_spec(KERNEL), parent=manager
    )
    await successor.load_provisioner_info(saved)
    eventually(lambda: daemon.client.list_slices()[0].age_s > 2.5)
    assert daemon.slice_ids() == before
    assert saved["slice"]["slice_id"] == before[0]
    await successor.cleanup(restart=False)
    assert daemon.slice_ids() == []


async def test_taking_over_a_kernel_whose_slice_is_gone_warns_and_a_restart_opens_another(
    daemon, specs, managers, caplog
) -> None:
    manager = managers(specs(daemon.socket))
    await manager.start_kernel()
    saved = await manager.provisioner.get_provisioner_info()
    daemon.client.close_slice(saved["slice"]["slice_id"], saved["slice"]["token"])
    manager.provisioner._lease = None
    with caplog.at_level("WARNING"):
        await manager.provisioner.load_provisioner_info(saved)
    assert "cannot be kept" in caplog.text
    await manager.restart_kernel(now=True)
    assert len(daemon.slice_ids()) == 1


def test_nbclient_reports_the_sentence(daemon, specs) -> None:
    daemon.client.open_slice("somebody else's", vram_bytes=900 * 2**20)
    manager = AsyncKernelManager(kernel_name=KERNEL, kernel_spec_manager=specs(daemon.socket))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    with pytest.raises(KernelStartError, match=r"^This kernel got no GPU slice\. All GPU memory is in use"):
        NotebookClient(notebook, km=manager).execute()


# -- configuration


async def test_jupyters_configuration_sets_what_the_kernelspec_leaves_out(
    daemon, specs, managers, tmp_path
) -> None:
    manager_of_specs = specs(daemon.socket)
    file = tmp_path / "share/jupyter/kernels" / KERNEL / "kernel.json"
    spec = json.loads(file.read_text())
    spec["metadata"]["kernel_provisioner"]["config"] = {}
    file.write_text(json.dumps(spec))
    settings = {"vram": "96MiB", "share": 0.5, "ceiling": 0.25, "server": str(daemon.socket)}
    await managers(manager_of_specs, config=Config(TFusionProvisioner=settings)).start_kernel()
    (row,) = daemon.client.list_slices()
    assert (row.vram_bytes, row.share, row.ceiling) == (96 * 2**20, 0.5, 0.25)


async def test_without_a_size_anywhere_the_daemon_decides(daemon, specs, managers, tmp_path) -> None:
    manager_of_specs = specs(daemon.socket)
    file = tmp_path / "share/jupyter/kernels" / KERNEL / "kernel.json"
    spec = json.loads(file.read_text())
    del spec["metadata"]["kernel_provisioner"]["config"]["vram"]
    file.write_text(json.dumps(spec))
    await managers(manager_of_specs).start_kernel()
    (row,) = daemon.client.list_slices()
    assert row.vram_bytes == 256 * 2**20  # a quarter of a small GPU


async def test_the_kernelspec_wins_over_jupyters_configuration(daemon, specs, managers) -> None:
    config = Config(TFusionProvisioner={"vram": "96MiB"})
    await managers(specs(daemon.socket, vram="128MiB"), config=config).start_kernel()
    (row,) = daemon.client.list_slices()
    assert row.vram_bytes == 128 * 2**20


def test_every_setting_explains_itself() -> None:
    own = set(TFusionProvisioner.class_own_traits(config=True))
    assert own == {"vram", "share", "ceiling", "server", "dead_kernel_grace_s"}
    for name, trait in TFusionProvisioner.class_own_traits(config=True).items():
        assert len(trait.help) > 20, name
