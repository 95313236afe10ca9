"""Starts a Jupyter kernel under a GPU slice: opens the slice before the launch, holds it while the kernel lives.

jupyter_client creates one TFusionProvisioner per kernel, because the kernelspec (kernelspec.py) names it. A restart
keeps the provisioner, and so the slice. What must hold: whenever the kernel cannot be started, for whatever reason,
no slice stays open; and the event loop never waits for the daemon, which is talked to on other threads.

The slice is renewed on a thread of its own rather than on the event loop: a blocking kernel manager runs its loop
only while one of its methods is being called.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import getpass
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from traitlets import Float, Int, Unicode, Union

from gpu_server.client import (
    Gpu,
    LeaseState,
    NoCapacity,
    OpenedSlice,
    ServerUnreachable,
    SliceLease,
    TFusionError,
    connect,
)
from gpu_server.sizes import parse_size
from jupyter_tfusion.leases import LEASES
from jupyter_tfusion.start_error import KernelStartError
from kernel_hook import HookMissing, launch_environment, library_path

T = TypeVar("T")


class TFusionProvisioner(LocalProvisioner):
    """A kernel on this machine that sees one GPU: its slice.

    The kernelspec's metadata.kernel_provisioner.config sets the traits below; what it leaves out comes from
    Jupyter's configuration (c.TFusionProvisioner in jupyter_server_config.py).
    """

    vram = Union(
        [Unicode(), Int()],
        default_value="",
        config=True,
        help="GPU memory limit of the kernel's slice: an amount such as '4GiB' or '512MiB', or a number of bytes. "
        "Empty: the daemon's default, which goes by the size of its GPU.",
    )
    share = Float(
        1.0,
        config=True,
        help="The slice's weight in GPU time, above 0: while others compute too, it gets its part of their sum.",
    )
    ceiling = Float(
        0.0,
        min=0.0,
        max=1.0,
        config=True,
        help="Most of the GPU's time that the slice gets, as a part of 1, even if nobody else wants it. 0: no limit.",
    )
    server = Unicode(
        "",
        config=True,
        help="Path of the control socket of the daemon (tfusion serve). Empty: the socket that TFUSION_SERVER names "
        "or the user's own daemon, which is started if none runs.",
    )
    dead_kernel_grace_s = Float(
        30.0,
        min=0.0,
        config=True,
        help="Seconds for which a kernel that died keeps its slice, in case it is restarted.",
    )

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._lease: SliceLease | None = None
        self._forget_lease: Callable[[], object] = _nothing
        self._abandonment: asyncio.TimerHandle | None = None

    # -- called by jupyter_client's KernelManager

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Opens the kernel's slice, or finds the one from before a restart, and puts the kernel's process under it.

        Raises KernelStartError with a sentence for the learner. After that and any other error no slice is open.
        """
        self._stop_abandonment()
        try:
            with _as_start_errors():
                hook = library_path()
                opened = await self._hold_slice(kwargs.get("env", os.environ))
            kwargs = await super().pre_launch(**kwargs)
            with _as_start_errors():
                kwargs["env"] = launch_environment(
                    kwargs["env"],
                    session_socket=opened.session_socket,
                    slice_id=opened.slice_id,
                    token=opened.token,
                    library=hook,
                    vram_bytes=opened.vram_bytes,
                    gpu_name=opened.gpu.name,
                    driver_version=opened.gpu.driver_version,
                    software=opened.gpu.software,
                )
        except BaseException:
            await self._roll_back()
            raise
        if self._lease is not None:
            LEASES.launched(str(self.kernel_id), self._lease)
        return kwargs

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Starts the process; if that fails the slice is closed again."""
        try:
            return await super().launch_kernel(cmd, **kwargs)
        except BaseException:
            await self._roll_back()
            raise

    async def poll(self) -> int | None:
        """None while the process lives, as in the base class.

        A process that has died is either restarted soon or never: Jupyter's restarter gives up after some failures
        and tells nobody here. So the slice goes back when there is still no process after dead_kernel_grace_s.
        """
        status = await super().poll()
        if status is not None and self._lease is not None and self._abandonment is None:
            this = weakref.ref(self)
            self._abandonment = asyncio.get_running_loop().call_later(
                self.dead_kernel_grace_s, lambda: _give_up_dead_kernel(this)
            )
        return status

    async def cleanup(self, restart: bool = False) -> None:
        """Closes the slice, unless the kernel is about to come back. May be called more than once."""
        try:
            await super().cleanup(restart=restart)
        finally:
            if not restart:
                await self._release()

    async def get_provisioner_info(self) -> dict[str, Any]:
        """The base class's information and the slice, as JSON values: what another manager needs to go on.

        Holds the slice's token, so it is as secret as the connection information beside it.
        """
        info: dict[str, Any] = await super().get_provisioner_info()
        if self._lease is not None:
            info["slice"] = {
                "server": str(self._lease.client.socket),
                **dataclasses.asdict(self._lease.opened),
            }
        return info

    async def load_provisioner_info(self, provisioner_info: dict[str, Any]) -> None:
        """Takes over a running kernel, and keeps its slice alive from now on.

        A slice that is gone meanwhile is no error here: a warning says so, and the next restart opens a new one.
        """
        await super().load_provisioner_info(provisioner_info)
        saved = provisioner_info.get("slice")
        if saved is None:
            return
        saved = dict(saved)
        socket = Path(saved.pop("server"))
        opened = OpenedSlice(**{**saved, "gpu": Gpu(**saved["gpu"])})
        try:
            lease = await _in_thread(lambda: self._take_over(socket, opened), undo=_close_lease)
        except TFusionError as error:
            self.log.warning("The GPU slice of kernel %s cannot be kept: %s", self.kernel_id, error)
        else:
            self._keep(lease)
            LEASES.launched(str(self.kernel_id), lease)

    # -- the slice

    async def _hold_slice(self, env: Mapping[str, str]) -> OpenedSlice:
        """The kernel's slice: the one it has, if the daemon still knows it, else a new one."""
        held = self._lease
        if held is not None:
            if await _in_thread(lambda: _still_open(held)):
                return held.opened
            self.log.info("The GPU slice of kernel %s has ended; a new one is opened.", self.kernel_id)
            await self._release()
        lease = await _in_thread(lambda: self._open(env), undo=_close_lease)
        self._keep(lease)
        self.log.info("Kernel %s got the GPU slice %r", self.kernel_id, lease.opened)
        return lease.opened

    def _open(self, env: Mapping[str, str]) -> SliceLease:
        vram_bytes = self.vram if isinstance(self.vram, int) else parse_size(self.vram or "0")
        client = connect(Path(self.server) if self.server else None)
        try:
            return SliceLease.open(
                client,
                _slice_name(env, self.kernel_spec.display_name),
                vram_bytes=vram_bytes,
                share=self.share,
                ceiling=self.ceiling,
                owner=_owner(env),
                kernel_id=str(self.kernel_id),
                on_lost=self._report_loss(),
            )
        except BaseException:
            client.close()
            raise

    def _take_over(self, socket: Path, opened: OpenedSlice) -> SliceLease:
        client = connect(socket)
        try:
            client.renew_slice(opened.slice_id, opened.token)
            return SliceLease(client, opened, self._report_loss())
        except BaseException:
            client.close()
            raise

    def _report_loss(self) -> Callable[[TFusionError], None]:
        # Without self: the heartbeat's thread keeps the callback, and must not keep a forgotten provisioner alive.
        log, kernel_id = self.log, str(self.kernel_id)

        def report(error: TFusionError) -> None:
            record = LEASES.find(kernel_id)
            if record is not None and record.lease.state is LeaseState.LOST:
                LEASES.ended(kernel_id, record.lease, str(error))
            log.warning(
                "Kernel %s has lost its GPU slice: %s Restart the kernel to get a new one.", kernel_id, error
            )

        return report

    def _keep(self, lease: SliceLease) -> None:
        self._lease = lease
        # Jupyter may drop a manager without a word, and a server may end without shutting kernels down.
        finalizer = weakref.finalize(self, _close_forgotten_lease, str(self.kernel_id), lease)
        self._forget_lease = finalizer.detach

    async def _release(self, why: str = "") -> None:
        """Closes the slice if there is one; an unreachable daemon lets it expire by itself.

        ``why``: what to say of the slice while the kernel is still there to be looked at.
        """
        self._stop_abandonment()
        lease, self._lease = self._lease, None
        if lease is None:
            return
        self._forget_lease()
        if why:
            LEASES.ended(str(self.kernel_id), lease, why)
        else:
            LEASES.forget(str(self.kernel_id), lease)
        try:
            await _in_thread(lambda: _close_lease(lease))
        except TFusionError as error:
            self.log.warning("The GPU slice of kernel %s could not be closed: %s", self.kernel_id, error)

    async def _roll_back(self) -> None:
        """Gives back what a failed start took; jupyter_client calls no cleanup() then."""
        await asyncio.shield(self._release())
        if self.ports_cached and self.connection_info:
            await super().cleanup(restart=False)
        self.ports_cached = False

    def _stop_abandonment(self) -> None:
        if self._abandonment is not None:
            self._abandonment.cancel()
            self._abandonment = None

    async def _release_if_dead(self) -> None:
        self._abandonment = None
        if self._lease is not None and await super().poll() is not None:
            self.log.info(
                "Kernel %s died and was not restarted; its GPU slice is given back.", self.kernel_id
            )
            await self._release("The kernel died and was not restarted, so its GPU slice was given back.")


def _nothing() -> None:
    """There is no lease to forget."""


def _give_up_dead_kernel(this: weakref.ref[TFusionProvisioner]) -> None:
    provisioner = this()
    if provisioner is not None:
        task = asyncio.ensure_future(provisioner._release_if_dead())
        _background.add(task)  # the event loop itself keeps only a weak reference
        task.add_done_callback(_background.discard)


_background: set[asyncio.Future[None]] = set()


async def _in_thread(call: Callable[[], T], undo: Callable[[T], object] | None = None) -> T:
    """call()'s result, computed on a thread; if the caller is cancelled, what comes of it later is undone."""
    future = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if undo is not None:

            def undo_late(done: asyncio.Future[T]) -> None:
                if not done.cancelled() and done.exception() is None:
                    threading.Thread(target=undo, args=(done.result(),), daemon=True).start()

            future.add_done_callback(undo_late)
        raise


def _still_open(lease: SliceLease) -> bool:
    if lease.state is not LeaseState.OPEN:
        return False
    try:
        lease.client.renew_slice(lease.opened.slice_id, lease.opened.token)
    except TFusionError:
        return False
    return True


def _close_lease(lease: SliceLease) -> None:
    try:
        lease.close()
    finally:
        lease.client.close()


def _close_forgotten_lease(kernel_id: str, lease: SliceLease) -> None:
    """For a lease whose provisioner is gone: on a thread of its own, as the garbage collector may call this on any,
    the event loop's or one that holds the lock of LEASES; at exit there and then."""

    def close() -> None:
        LEASES.forget(kernel_id, lease)
        _close_lease(lease)

    if threading.main_thread().is_alive():
        threading.Thread(target=close, name="tfusion-close", daemon=True).start()
    else:
        with contextlib.suppress(TFusionError):  # it expires by itself
            _close_lease(lease)


def _slice_name(env: Mapping[str, str], kernel_name: str) -> str:
    """What people see in `tfusion status`: the notebook if Jupyter says which, else the kernel."""
    notebook = env.get("JPY_SESSION_NAME", "")
    return Path(notebook).name if notebook else kernel_name


def _owner(env: Mapping[str, str]) -> str:
    try:
        return env.get("JUPYTERHUB_USER") or getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"uid {os.getuid()}"


@contextlib.contextmanager
def _as_start_errors() -> Iterator[None]:
    """Errors for Jupyter: 503 for what may be better later, 500 for what somebody must mend."""
    try:
        yield
    except (NoCapacity, ServerUnreachable) as error:
        raise KernelStartError(f"This kernel got no GPU slice. {error}") from error
    except (TFusionError, HookMissing, ValueError) as error:
        raise KernelStartError(
            f"This kernel got no GPU slice. {error}", HTTPStatus.INTERNAL_SERVER_ERROR
        ) from error
