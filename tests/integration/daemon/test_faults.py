"""Faults at random moments of swaps: whoever is not hit keeps its memory and goes on.

TFUSION_FAULTS sets how many (24 in `make test`, 1000 before a release).
"""

from __future__ import annotations

import os
import random
import signal
import time
from typing import Any

import pytest

MIB = 1 << 20
FAULTS = int(os.environ.get("TFUSION_FAULTS", "24"))
GUESTS = 4


class Learner:
    """A guest that has filled its memory and is asked whether it still has it."""

    def __init__(self, host: Any, rng: random.Random) -> None:
        self.host = host
        self.guest = host.guest("48MiB")
        self.rng = rng
        self.asked = 0
        assert self.guest.ask("start") == "ok 1"
        known = {s.client_pid for s in host.client.list_sessions()}
        self.pid = next(pid for pid in self._processes() if pid in known)
        assert self.guest.ask(f"fill {rng.choice((8, 24, 40))} {rng.randrange(1 << 30)}") == "ok filled"

    def _processes(self) -> list[int]:
        with open(f"/proc/{self.guest.process.pid}/task/{self.guest.process.pid}/children") as children:
            return [self.guest.process.pid, *map(int, children.read().split())]

    def session(self) -> Any:
        return next(s for s in self.host.client.list_sessions() if s.client_pid == self.pid)

    def ask(self) -> None:
        """Without waiting for the answer."""
        self.guest.say("unchanged")
        self.asked += 1

    def check(self) -> None:
        while self.asked:
            assert self.guest.process.stdout.readline() == "ok unchanged\n", self.guest.words()
            self.asked -= 1

    def kill(self, what: str) -> None:
        os.kill(self.session().worker_pid if what == "worker" else self.pid, signal.SIGKILL)
        self.guest.end()  # so that its slice is given back


@pytest.mark.timeout(60 + 10 * FAULTS)
@pytest.mark.parametrize("store", ["512MiB", "64MiB"], ids=["memory", "memory and disk"])
def test_who_is_not_hit_loses_nothing(configured: Any, store: str) -> None:
    host = configured("64MiB", oversubscription=8.0, swap_memory=store, swap_disk="512MiB")
    rng = random.Random(store)
    learners = [Learner(host, rng) for _ in range(GUESTS)]
    for _ in range(FAULTS // 2):
        for learner in rng.sample(learners, rng.randint(1, GUESTS)):
            learner.ask()
        victim = rng.choice(learners)
        time.sleep(rng.random() * 0.03)  # some way into what was asked
        victim.kill(rng.choice(("worker", "program")))
        learners.remove(victim)
        learners.append(Learner(host, rng))
        for learner in rng.sample(learners, 2):
            learner.check()
        assert sum(s.resident_bytes for s in host.client.list_sessions()) <= 64 * MIB
    for learner in learners:
        learner.check()
        learner.ask()
        learner.check()
