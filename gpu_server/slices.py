"""The registry of slices: who may use how much of which GPU, and until when.

A pure state object: no I/O, and the clock is given. The daemon calls it on its event loop only, so it has no lock.
What must hold at every moment: the limits of a GPU's slices, those that are ending included, never sum to more than
the GPU's usable bytes times the oversubscription. A slice that was closed or has expired is `ending` until forget():
its workers may still hold memory, so its reservation stays, but nobody can renew it or start a session under it.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gpu_server.errors import InvalidRequest, NoCapacity, SliceFull, SliceNotFound, WrongToken
from gpu_server.sizes import MIB, format_size
from gpu_server.slice_sizes import sizes_for

MIN_SLICE_BYTES = MIB
MAX_SHARE = 1000.0
MAX_TEXT = 200
_TOKEN = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class GpuCapacity:
    """One GPU as the registry sees it."""

    uuid: str
    usable_bytes: int


@dataclass(frozen=True)
class SliceLimits:
    """What the configuration says about every slice. ``max_vram_bytes`` 0: as much as a GPU has."""

    default_vram_bytes: int
    max_vram_bytes: int
    time_to_live_s: float
    max_sessions: int
    oversubscription: float = 1.0


@dataclass
class Slice:
    """One slice. Times are the registry's clock in seconds."""

    slice_id: str
    name: str
    owner: str
    kernel_id: str
    gpu_uuid: str
    vram_bytes: int
    share: float
    ceiling: float  # part of the GPU's time; 0: none
    opened_at: float
    expires_at: float
    ending: bool = False
    slots: set[int] = field(default_factory=set)
    token_digest: bytes = b""


class SliceRegistry:
    """Opens, renews, closes and expires slices, and hands out their session slots."""

    def __init__(
        self,
        gpus: Iterable[GpuCapacity],
        limits: SliceLimits,
        clock: Callable[[], float],
        admin_token: str = "",
    ) -> None:
        self._gpus = {gpu.uuid: gpu for gpu in gpus}
        self._limits = limits
        self._clock = clock
        self._slices: dict[str, Slice] = {}
        self._no_digest = _digest(secrets.token_hex(32))
        self._admin_digest = _digest(admin_token) if admin_token else self._no_digest

    # -- what there is

    def slices(self) -> list[Slice]:
        """Open slices, oldest first; not those that are ending."""
        return [s for s in self._slices.values() if not s.ending]

    def find(self, slice_id: str) -> Slice | None:
        """The slice, also one that is ending."""
        return self._slices.get(slice_id)

    def on_gpu(self, gpu_uuid: str) -> list[Slice]:
        """A GPU's slices, those that are ending included."""
        return [s for s in self._slices.values() if s.gpu_uuid == gpu_uuid]

    def reserved_bytes(self, gpu_uuid: str) -> int:
        """Sum of the limits of a GPU's slices, those that are ending included."""
        return sum(s.vram_bytes for s in self.on_gpu(gpu_uuid))

    def promised_bytes(self, gpu: GpuCapacity) -> int:
        """How much the limits of a GPU's slices may sum to."""
        return int(gpu.usable_bytes * self._limits.oversubscription)

    def empty(self) -> bool:
        """No slice is open or ending."""
        return not self._slices

    # -- the life of a slice

    def open(
        self,
        name: str,
        vram_bytes: int = 0,
        share: float = 0.0,
        owner: str = "",
        kernel_id: str = "",
        ceiling: float = 0.0,
    ) -> tuple[Slice, str]:
        """Opens a slice on the GPU where it fits best; gives it and its token.

        Raises InvalidRequest for what can never be, NoCapacity for what cannot be now.
        """
        vram_bytes = self._checked_vram(vram_bytes)
        share = share or 1.0
        if not (math.isfinite(share) and 0.0 < share <= MAX_SHARE):
            raise InvalidRequest(
                f"The share of a slice is a weight above 0 and up to {MAX_SHARE:g}; {share:g} was asked for."
            )
        if not 0.0 <= ceiling <= 1.0:
            raise InvalidRequest(
                f"The ceiling of a slice is a part of the GPU's time, above 0 and up to 1 (0: none); {ceiling:g} was "
                "asked for."
            )
        gpu = self._best_fit(vram_bytes)
        token = secrets.token_hex(32)
        now = self._clock()
        opened = Slice(
            slice_id=secrets.token_hex(8),
            name=_shown(name) or "unnamed",
            owner=_shown(owner),
            kernel_id=_shown(kernel_id),
            gpu_uuid=gpu.uuid,
            vram_bytes=vram_bytes,
            share=share,
            ceiling=ceiling,
            opened_at=now,
            expires_at=now + self._limits.time_to_live_s,
            token_digest=_digest(token),
        )
        self._slices[opened.slice_id] = opened
        return opened, token

    def renew(self, slice_id: str, token: str) -> float:
        """Heartbeat; gives the new time to live in seconds. Raises SliceNotFound or WrongToken."""
        renewed, _ = self.owned(slice_id, token)
        renewed.expires_at = self._clock() + self._limits.time_to_live_s
        return self._limits.time_to_live_s

    def close(self, slice_id: str, token: str) -> Slice:
        """Marks the slice as ending; the caller ends its sessions, then calls forget().

        Raises SliceNotFound or WrongToken.
        """
        closed, _ = self.owned(slice_id, token)
        closed.ending = True
        return closed

    def owned(self, slice_id: str, token: str) -> tuple[Slice, bool]:
        """The open slice that this token may change, and whether it is the admin token, which fits every slice.

        Raises SliceNotFound or WrongToken.
        """
        found = self._slices.get(slice_id)
        digest = _digest(token)
        # All comparisons run, for unknown slices too, so that the time taken says nothing.
        fits = hmac.compare_digest(found.token_digest if found else self._no_digest, digest)
        admin = hmac.compare_digest(self._admin_digest, digest)
        if found is None or found.ending:
            raise SliceNotFound("This slice is no longer open: it was closed or has expired. Open a new one.")
        if not (fits or admin) or not _TOKEN.match(token):
            raise WrongToken(
                "The token does not belong to this slice. Use the one that opening the slice returned."
            )
        return found, not fits

    def expire(self) -> list[Slice]:
        """Marks every slice as ending that was not renewed in time, and gives them."""
        now = self._clock()
        expired = [s for s in self.slices() if s.expires_at <= now]
        for s in expired:
            s.ending = True
        return expired

    def forget(self, slice_id: str) -> None:
        """Gives the reservation of an ended slice back. Precondition: no session is left under it."""
        gone = self._slices[slice_id]
        if not gone.ending or gone.slots:
            raise RuntimeError(f"slice {slice_id} was forgotten while in use")
        del self._slices[slice_id]

    def next_expiry(self) -> float | None:
        """When expire() has something to do, on the registry's clock; None while no slice is open."""
        return min((s.expires_at for s in self.slices()), default=None)

    # -- sessions

    def authorize(self, slice_id: str, token: str) -> Slice:
        """The open slice that this token belongs to.

        Raises WrongToken for an unknown slice as well: a client process cannot find out which slices exist.
        """
        try:
            found, admin = self.owned(slice_id, token)
        except (SliceNotFound, WrongToken):
            found, admin = None, False
        if found is None or admin:  # the admin token changes slices; it uses none
            raise WrongToken(
                "The GPU server does not know this slice: it was closed, has expired, or its token is wrong. "
                "Restart the kernel to get a new one."
            )
        return found

    def take_slot(self, slice_id: str) -> int:
        """A free session slot of an open slice; raises SliceFull."""
        s = self._slices[slice_id]
        if len(s.slots) >= self._limits.max_sessions:
            raise SliceFull(
                f"This slice already serves {len(s.slots)} processes, as many as it may. "
                "End one of them (a DataLoader with fewer workers, for example), or restart the kernel."
            )
        slot = next(i for i in range(self._limits.max_sessions) if i not in s.slots)
        s.slots.add(slot)
        return slot

    def release_slot(self, slice_id: str, slot: int) -> None:
        """The session of this slot is over and its worker gone."""
        self._slices[slice_id].slots.discard(slot)

    # -- inside

    def _checked_vram(self, vram_bytes: int) -> int:
        if not self._gpus:
            raise NoCapacity("The GPU server has no GPU. Ask whoever runs it to start it with a GPU.")
        largest = max(gpu.usable_bytes for gpu in self._gpus.values())
        most = min(largest, self._limits.max_vram_bytes or largest)
        if vram_bytes == 0:
            default = self._limits.default_vram_bytes
            if not default:
                default = sizes_for(min(gpu.usable_bytes for gpu in self._gpus.values())).medium
            return min(default, most)
        if vram_bytes < MIN_SLICE_BYTES:
            raise InvalidRequest(
                f"{format_size(vram_bytes)} of GPU memory were asked for; a slice has at least "
                f"{format_size(MIN_SLICE_BYTES)}. Ask for more."
            )
        if vram_bytes > most:
            whose = "the GPU has" if most == largest else "one slice may have"
            raise InvalidRequest(
                f"{format_size(vram_bytes)} of GPU memory were asked for, but {whose} at most "
                f"{format_size(most)}. Ask for less."
            )
        return vram_bytes

    def _best_fit(self, vram_bytes: int) -> GpuCapacity:
        free = {
            uuid: self.promised_bytes(gpu) - self.reserved_bytes(uuid) for uuid, gpu in self._gpus.items()
        }
        fitting = [gpu for gpu in self._gpus.values() if free[gpu.uuid] >= vram_bytes]
        if fitting:
            return min(fitting, key=lambda gpu: free[gpu.uuid])
        emptiest = max(self._gpus.values(), key=lambda gpu: free[gpu.uuid])
        if len(self._gpus) == 1:
            what = (
                f"{format_size(free[emptiest.uuid])} of {format_size(self.promised_bytes(emptiest))} are free"
            )
        else:
            what = (
                f"the emptiest of {len(self._gpus)} GPUs has {format_size(free[emptiest.uuid])} of "
                f"{format_size(self.promised_bytes(emptiest))} free"
            )
        raise NoCapacity(
            f"All GPU memory is in use: {format_size(vram_bytes)} were asked for and {what}. {self._holders()} "
            "Close another vGPU kernel or choose a smaller one."
        )

    def _holders(self) -> str:
        held = sorted(self._slices.values(), key=lambda s: -s.vram_bytes)
        named = ", ".join(f'"{s.name}" ({format_size(s.vram_bytes)})' for s in held[:3])
        rest = f" and {len(held) - 3} more" if len(held) > 3 else ""
        return f"In use by {len(held)} slice{'s' if len(held) != 1 else ''}: {named}{rest}."


def _digest(token: str) -> bytes:
    """Tokens are kept as digests: a dump of the registry, or a log line of it, gives no slice away."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def _shown(text: str) -> str:
    """Text of a stranger that will be printed: no control characters, and short."""
    return "".join(c if c.isprintable() else "?" for c in text)[:MAX_TEXT]
