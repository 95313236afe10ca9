"""The thread that follows a GPU server: it lives, and says what is, whatever comes."""

from __future__ import annotations

import queue
from pathlib import Path
from typing import Any

import pytest

from gpu_server.client import EndingKind, TFusionError, _change
from gpu_server.proto import control_pb2 as pb
from jupyter_tfusion import daemon_link
from jupyter_tfusion.daemon_link import UNREADABLE, DaemonLink

PATIENCE_S = 60.0


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (RuntimeError("can't start new thread"), UNREADABLE),
        (PermissionError("no"), UNREADABLE),
        (TFusionError("It has too much to say."), "It has too much to say."),
    ],
)
def test_whatever_breaks_the_link_is_said_and_the_next_try_follows(
    monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str
) -> None:
    monkeypatch.setattr(daemon_link, "FIRST_RETRY_S", 0.001)
    tries: queue.Queue[None] = queue.Queue()
    said: queue.Queue[str] = queue.Queue()

    def connect(*_: object, **__: object) -> Any:
        tries.put(None)
        raise error

    monkeypatch.setattr(daemon_link, "connect", connect)
    link = DaemonLink(Path("/nowhere"), lambda *_: None, lambda _, why: said.put(why))
    link.start()
    for _ in range(3):
        tries.get(timeout=PATIENCE_S)
    link.close()
    assert said.get_nowait() == sentence
    assert said.empty(), "once, not at each try"


def test_an_ending_of_a_kind_that_is_not_known_yet_is_passed_over() -> None:
    known = pb.Ending(kind=pb.Ending.SLICE, slice_id="a")
    change = _change(pb.StateChange(endings=[pb.Ending(kind=9, slice_id="b"), known]))  # type: ignore[arg-type]
    assert [(e.kind, e.slice_id) for e in change.endings] == [(EndingKind.SLICE, "a")]
