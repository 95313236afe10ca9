"""The page between the daemon and a worker: orders go over, reports come back, and both sides mean the same words."""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_server import turn as turn_module
from gpu_server.account import Account
from gpu_server.scheduler import Order, Report
from gpu_server.turn import SIZE_BYTES, Swaps, Turn

HEADER = Path(__file__).resolve().parents[3] / "gpu_server/replay/turn.hpp"
ORDER = Order(
    session_id="s",
    run=True,
    allowance_bytes=100,
    store_bytes=20,
    spill_bytes=3,
    contended=False,
    watch=True,
    denied_want=9,
)


@pytest.fixture
def account() -> Iterator[Account]:
    one = Account(1 << 20)
    yield one
    one.close()


@pytest.fixture
def turn(account: Account) -> Iterator[Turn]:
    one = Turn(account, 3)
    yield one
    one.close()


@pytest.fixture
def words(turn: Turn) -> Iterator[memoryview]:
    """The page as the worker maps it."""
    with mmap.mmap(turn.fd, SIZE_BYTES) as page, memoryview(page) as raw, raw.cast("Q") as view:
        yield view


def test_both_sides_name_the_words_alike() -> None:
    page = re.search(r"struct Page \{(.*?)\n  \};", HEADER.read_text(), re.S)
    assert page is not None
    names: list[str] = []
    for name, count in re.findall(r"std::atomic<std::uint64_t> (\w+)(?:\[(\d+)\])?;", page.group(1)):
        names += [name] * int(count or 1)
    assert len(names) == turn_module.WORDS
    ours = {
        "epoch": "EPOCH", "order_flags": "ORDER_FLAGS", "allowance_bytes": "ALLOWANCE", "store_bytes": "STORE",
        "spill_bytes": "SPILL", "kernel_limit_ns": "KERNEL_LIMIT",
        "denied_want": "DENIED_WANT", "want_number": "WANT_NUMBER", "report_flags": "REPORT_FLAGS",
        "wanted_bytes": "WANTED", "accepted_bytes": "ACCEPTED", "resident_bytes": "RESIDENT", "fixed_bytes": "FIXED",
        "swapped_bytes": "SWAPPED", "stored_bytes": "STORED", "spilled_bytes": "SPILLED",
        "swapped_out_bytes": "SWAPPED_OUT", "swapped_in_bytes": "SWAPPED_IN", "swap_out_ns": "SWAP_OUT_NS",
        "swap_in_ns": "SWAP_IN_NS", "waited_ns": "WAITED_NS",
    }  # fmt: skip
    assert {name for name in names if name != "unused"} == set(ours)
    for name, constant in ours.items():
        assert getattr(turn_module, f"_{constant}") == names.index(name), name
    for name, value in re.findall(r"\bk([A-Z]\w+) = (\d+)[,;]", HEADER.read_text()):
        constant = "_" + re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()
        assert getattr(turn_module, constant) == int(value), name


def test_an_order_is_on_the_page_before_its_number_and_rings(turn: Turn, words: memoryview) -> None:
    turn.give(ORDER, 7)
    assert list(words[:7]) == [1, 1 | 4, 100, 20, 3, 7, 9]
    assert os.eventfd_read(turn.orders_fd) == 1
    turn.give(ORDER, 7)
    assert words[0] == 2


def test_a_report_is_what_the_worker_wrote(turn: Turn, words: memoryview) -> None:
    words[21] = 4
    words[8], words[9], words[10], words[11], words[12], words[13] = 1 | 4, 5, 100, 64, 32, 16
    words[14], words[15] = 14, 2
    assert turn.report(0) == Report(
        waiting=True,
        busy=False,
        busy_ns=0,
        resident_bytes=64,
        fixed_bytes=32,
        swapped_bytes=16,
        stored_bytes=14,
        spilled_bytes=2,
        wanted_bytes=5,
        want_number=4,
        allowance_bytes=100,
        stopped=False,
        swap_failed=True,
    )
    words[15], words[16], words[17], words[18], words[19], words[20] = 1, 2, 3, 4, 5, 6
    assert (turn.spilled_bytes, turn.swaps, turn.waited_ns) == (1, Swaps(2, 3, 4, 5), 6)
    assert turn.swaps + turn.swaps == Swaps(4, 6, 8, 10)


def test_sizes_are_believed_only_as_far_as_sums_of_them_can_be_told(turn: Turn, words: memoryview) -> None:
    for word in range(8, 22):
        words[word] = (1 << 64) - 1
    told = turn.report(0)
    assert told.resident_bytes == told.swapped_bytes == turn.resident_bytes == turn.spilled_bytes == 1 << 50


def test_the_bell_may_be_heard_without_having_rung(turn: Turn) -> None:
    turn.heard()
    os.eventfd_write(turn.bell_fd, 2)
    turn.heard()
    turn.heard()


def test_the_page_cannot_be_shrunk(turn: Turn) -> None:
    with pytest.raises(OSError, match="not permitted"):
        os.ftruncate(turn.fd, 8)


def test_nothing_is_left_open(account: Account) -> None:
    before = len(os.listdir("/proc/self/fd"))
    one = Turn(account, 0)
    one.close()
    one.close()
    assert len(os.listdir("/proc/self/fd")) == before
