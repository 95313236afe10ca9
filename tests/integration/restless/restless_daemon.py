"""`tfusion serve`, with a scheduler that never lets a session rest: it is stopped, swapped out and let in all the time.

Everything else is the real daemon and the real workers, so programs meet an exchange of memory between any two of
their calls.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import gpu_server.turns
from gpu_server import cli
from gpu_server.scheduler import Order, Phase, Policy, Report, SessionState, StoryEntry

STEP_NS = 2_000_000
# A session runs for three steps, and for as long as the exchange before took: a program has to get on.
LEAST_RUN_NS = 3 * STEP_NS
# One whose kernel waits for the program does not stop before that goes on; the real scheduler gives up as well.
PATIENCE_NS = 3_000_000_000


class RestlessScheduler:
    """Stands in for GpuScheduler: each session runs for some steps, then gives up all that can be swapped."""

    def __init__(self, usable_bytes: int, store_bytes: int, spill_bytes: int, policy: Policy) -> None:
        self._usable = usable_bytes
        self._stopped_ns: dict[str, int] = {}  # 0: it may run
        self._whole_ns: dict[str, int] = {}  # since when it runs with all its memory; 0: it does not
        self._took_ns: dict[str, int] = {}
        self._slices: dict[str, str] = {}
        self._next_ns: int | None = None

    def add(
        self,
        now_ns: int,
        session_id: str,
        slice_id: str,
        share: float,
        limit_bytes: int,
        ceiling: float | None,
    ) -> list[Order]:
        self._stopped_ns[session_id] = self._whole_ns[session_id] = self._took_ns[session_id] = 0
        self._slices[session_id] = slice_id
        self._next_ns = now_ns + STEP_NS
        return [self._order(session_id, run=True)]

    def remove(self, now_ns: int, session_id: str) -> list[Order]:
        for known in (self._stopped_ns, self._whole_ns, self._took_ns, self._slices):
            del known[session_id]
        return []

    def look(self, now_ns: int, reports: Mapping[str, Report]) -> list[Order]:
        self._next_ns = now_ns + STEP_NS if self._slices else None
        orders = []
        for session_id, report in reports.items():
            stopped_ns, whole_ns = self._stopped_ns[session_id], self._whole_ns[session_id]
            if stopped_ns:
                if not report.stopped and now_ns - stopped_ns > PATIENCE_NS:
                    self._stopped_ns[session_id] = self._took_ns[session_id] = 0
                    orders.append(self._order(session_id, run=True))
                elif report.stopped and (
                    report.swap_failed or report.resident_bytes == report.fixed_bytes
                ):  # it fails after a kernel's fault
                    self._stopped_ns[session_id] = 0
                    self._took_ns[session_id] = now_ns - stopped_ns
                    orders.append(self._order(session_id, run=True))
            elif not whole_ns:
                self._whole_ns[session_id] = now_ns if report.swapped_bytes == 0 else 0
            elif now_ns - whole_ns >= max(LEAST_RUN_NS, self._took_ns[session_id]):
                self._stopped_ns[session_id], self._whole_ns[session_id] = now_ns, 0
                orders.append(self._order(session_id, run=False))
        return orders

    def _order(self, session_id: str, run: bool) -> Order:
        return Order(
            session_id,
            run=run,
            allowance_bytes=self._usable if run else 0,
            store_bytes=self._usable,
            spill_bytes=0,
            contended=True,
            watch=True,
            denied_want=0,
        )

    def next_look_ns(self) -> int | None:
        return self._next_ns

    def note_swap_speed(self, bytes_per_s: float) -> None:
        pass

    def story(self, slice_id: str) -> list[StoryEntry]:
        return []

    def state(self) -> list[SessionState]:
        return [
            SessionState(
                session_id, self._slices[session_id], Phase.RUNNING, None, 0, 0, 0, 0, True, 0, "", 0
            )
            for session_id in self._slices
        ]


if __name__ == "__main__":
    gpu_server.turns.GpuScheduler = RestlessScheduler  # type: ignore[misc,assignment]
    sys.exit(cli.main(sys.argv[1:]))
