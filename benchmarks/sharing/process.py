"""A client process, natively or under a slice, that follows orders in JSON: `load` or `train`. Follows gpu/pairs.py."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpu.sides import last_line

ANSWER_TIMEOUT_S = 180.0
END_TIMEOUT_S = 15.0


class Failed(Exception):
    """A process or the daemon failed, died, or does not answer; the text says which and how."""


class Process:
    """One process. Its stderr goes to a file, whose end explains a death."""

    def __init__(self, command: list[str], environment: dict[str, str], errors: Path) -> None:
        self.pid = 0  # of the program itself, once it has said so; `tfusion run` stands between
        self._errors = errors
        self._told = ""
        self._pending = b""
        with errors.open("wb") as stderr:
            self._popen = subprocess.Popen(
                command,
                env=environment,
                cwd=errors.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,  # so that killing reaches what `tfusion run` started
            )

    def tell(self, do: str, **order: Any) -> None:
        """Tells it to do something, and does not wait."""
        assert self._popen.stdin is not None
        self._told = do
        try:
            self._popen.stdin.write(json.dumps({"do": do, **order}).encode() + b"\n")
            self._popen.stdin.flush()
        except BrokenPipeError:
            pass  # answer() finds out why

    def answer(self, timeout_s: float = ANSWER_TIMEOUT_S) -> dict[str, Any]:
        """What it says to the last order. Raises Failed."""
        assert self._popen.stdout is not None
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._pending:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._popen.stdout], [], [], left)[0]:
                raise Failed(f"a process did not answer '{self._told}' within {timeout_s:g} s")
            piece = os.read(self._popen.stdout.fileno(), 1 << 16)
            if not piece:
                status = self._popen.wait()
                raise Failed(f"a process ended with status {status} at '{self._told}': {self.words()}")
            self._pending += piece
        line, self._pending = self._pending.split(b"\n", 1)
        answer: dict[str, Any] = json.loads(line)
        if answer["state"] != "ok":
            raise Failed(f"'{self._told}': {answer['error']}")
        return answer

    def order(self, do: str, timeout_s: float = ANSWER_TIMEOUT_S, **order: Any) -> dict[str, Any]:
        """Tells it to do something and waits until it has."""
        self.tell(do, **order)
        return self.answer(timeout_s)

    def can_answer(self) -> bool:
        """Whether answer() would not wait, be it that the process has ended."""
        assert self._popen.stdout is not None
        return b"\n" in self._pending or bool(select.select([self._popen.stdout], [], [], 0)[0])

    def words(self) -> str:
        """The most telling line of its stderr."""
        return last_line(self._errors.read_text(encoding="utf-8", errors="replace"))

    def let_go(self) -> None:
        """There will be no more orders, so it ends."""
        assert self._popen.stdin is not None
        try:
            self._popen.stdin.close()
        except BrokenPipeError:
            pass

    def end(self) -> None:
        """Waits for its end, and brings it about by force if it does not come."""
        assert self._popen.stdout is not None
        self.let_go()
        try:
            self._popen.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._popen.pid, 9)
            self._popen.wait()
        self._popen.stdout.close()


def all_order(
    processes: Sequence[Process], do: str, timeout_s: float = ANSWER_TIMEOUT_S, **order: Any
) -> list[dict[str, Any]]:
    """The same order to all at once; their answers. Raises Failed when the first of them has."""
    for process in processes:
        process.tell(do, **order)
    return [process.answer(timeout_s) for process in processes]


def start_all(processes: Sequence[Process]) -> list[dict[str, Any]]:
    """Waits until all have opened the device; what they say of it. Raises Failed."""
    answers = all_order(processes, "start")
    for process, answer in zip(processes, answers, strict=True):
        process.pid = int(answer["pid"])
    return answers
