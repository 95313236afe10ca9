"""The records of kernels' slices, as provisioners write them and the extension reads them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from gpu_server.client import read_admin_token
from jupyter_tfusion.leases import LEASES, Leases
from jupyter_tfusion.provisioner import _close_forgotten_lease


@pytest.fixture
def told() -> Iterator[list[int]]:
    calls: list[int] = []
    stop = LEASES.listen(lambda: calls.append(len(LEASES.all())))
    yield calls
    stop()


def test_a_collected_provisioner_waits_for_no_lock_of_the_thread_that_collects_it() -> None:
    closed = threading.Event()
    lease: Any = SimpleNamespace(close=lambda: None, client=SimpleNamespace(close=closed.set))
    LEASES.launched("collected", lease)
    with LEASES._lock:  # the garbage collector may call it from within
        _close_forgotten_lease("collected", lease)
        assert "collected" in LEASES._records
    assert closed.wait(60)
    assert LEASES.find("collected") is None


def test_an_old_slices_end_does_not_touch_a_new_ones_record() -> None:
    leases = Leases()
    old: Any = object()
    new: Any = object()
    leases.launched("k", old)
    leases.launched("k", new)
    leases.ended("k", old, "It is gone.")
    leases.forget("k", old)
    record = leases.find("k")
    assert record is not None
    assert (record.lease, record.ended) == (new, "")
    leases.ended("k", new, "First.")
    leases.ended("k", new, "Second.")
    record = leases.find("k")
    assert record is not None
    assert record.ended == "First."
    leases.forget("k", new)
    assert leases.all() == []


async def test_a_kernel_has_a_record_from_its_launch_to_its_shutdown(
    specs: Any, daemon: Any, hook: Any, told: list[int]
) -> None:
    from jupyter_client import AsyncKernelManager

    manager = AsyncKernelManager(kernel_name="python3-vgpu", kernel_spec_manager=specs(daemon.socket))
    await manager.start_kernel()
    record = LEASES.find(manager.kernel_id)
    assert record is not None
    assert daemon.slice_ids() == [record.slice_id]
    first = record.launched_at
    await manager.restart_kernel(now=True)
    record = LEASES.find(manager.kernel_id)
    assert record is not None
    assert record.launched_at > first
    await manager.shutdown_kernel(now=True)
    assert LEASES.find(manager.kernel_id) is None
    assert told[0] == 1
    assert told[-1] == 0


async def test_a_kernel_whose_slice_is_lost_says_so_until_it_is_restarted(
    specs: Any, start_daemon: Any, hook: Any, eventually: Any
) -> None:
    from jupyter_client import AsyncKernelManager

    daemon = start_daemon(slice_ttl_s=2.0)
    manager = AsyncKernelManager(kernel_name="python3-vgpu", kernel_spec_manager=specs(daemon.socket))
    await manager.start_kernel()
    record = LEASES.find(manager.kernel_id)
    assert record is not None
    daemon.client.close_slice(record.slice_id, read_admin_token(daemon.socket))

    def ended() -> bool:
        now = LEASES.find(manager.kernel_id)
        return now is not None and "no longer open" in now.ended

    eventually(ended)
    await manager.restart_kernel(now=True)
    again = LEASES.find(manager.kernel_id)
    assert again is not None
    assert again.slice_id != record.slice_id
    assert again.ended == ""
    await manager.shutdown_kernel(now=True)
