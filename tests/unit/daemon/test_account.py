"""The account's words are where workers expect them."""

from __future__ import annotations

import mmap
import os
import struct

import pytest

from gpu_server.account import MARKS, SIZE_BYTES, SLOTS, Account


@pytest.fixture
def account() -> Account:
    return Account(limit_bytes=123456789012)


def test_the_layout_is_limit_then_slots_little_endian(account: Account) -> None:
    with mmap.mmap(account.fd, SIZE_BYTES) as worker:
        assert struct.unpack_from("<Q", worker, 0) == (123456789012,)
        struct.pack_into("<Q", worker, 8 * (1 + 0), 5)
        struct.pack_into("<Q", worker, 8 * (1 + SLOTS - 1), 7)
    assert (account.used_bytes(0), account.used_bytes(SLOTS - 1), account.used_bytes()) == (5, 7, 12)
    account.clear(0)
    assert account.used_bytes() == 7
    account.close()


def test_a_worker_that_writes_what_cannot_be_is_believed_up_to_the_limit() -> None:
    account = Account(limit_bytes=1000)
    with mmap.mmap(account.fd, SIZE_BYTES) as worker:
        struct.pack_into("<Q", worker, 0, (1 << 64) - 1)
        struct.pack_into("<Q", worker, 8 * (1 + 3), (1 << 64) - 1)
    assert (account.limit_bytes, account.used_bytes(3), account.used_bytes()) == (1000, 1000, 1000)
    account.close()


def test_calls_are_counted_by_slot(account: Account) -> None:
    with mmap.mmap(account.fd, SIZE_BYTES) as worker:
        struct.pack_into("<Q", worker, 8 * (1 + 3 * SLOTS + 5), 12)
    assert (account.calls(5), account.calls(6)) == (12, 0)
    account.clear(5)
    assert account.calls(5) == 0
    account.close()


def test_busy_time_is_what_is_over_and_what_has_passed_since_the_last_began(account: Account) -> None:
    with mmap.mmap(account.fd, SIZE_BYTES) as worker:
        struct.pack_into("<Q", worker, 8 * (1 + SLOTS + 3), 500)
        assert account.busy_ns(3, now_ns=1000) == 500
        struct.pack_into("<Q", worker, 8 * (1 + 2 * SLOTS + 3), 900)
        assert account.busy_ns(3, now_ns=1000) == 600
        assert account.busy_ns(3, now_ns=800) == 500  # a worker that has just begun
    assert account.busy_ns(2, now_ns=1000) == 0
    account.clear(3)
    assert account.busy_ns(3, now_ns=1000) == 0
    account.close()


def took(account: Account, slot: int, sum_bytes: int, own_bytes: int) -> None:
    """What the slot's worker writes when it takes memory: what it has, and what all slots have then."""
    with mmap.mmap(account.fd, SIZE_BYTES) as worker:
        struct.pack_into("<Q", worker, 8 * (1 + slot), own_bytes)
        struct.pack_into("<Q", worker, 8 * (1 + 4 * SLOTS + slot), sum_bytes)


def test_the_peak_is_the_highest_that_any_worker_saw_since_the_mark(account: Account) -> None:
    assert (account.mark, account.peaks()) == (0, [0])
    took(account, 0, 50, own_bytes=50)
    took(account, 3, 70, own_bytes=20)
    assert account.peaks() == [70]
    took(account, 0, 70, own_bytes=0)  # has given back
    account.set_mark()
    assert (account.mark, account.peaks()) == (1, [20, 70])  # what is there at the mark counts
    took(account, 0, 35, own_bytes=15)
    assert account.peaks() == [35, 70]
    account.set_mark()
    took(account, 3, 90, own_bytes=75)
    assert account.peaks() == [90, 90, 90]
    account.close()


def test_the_peak_outlives_the_worker_that_saw_it(account: Account) -> None:
    took(account, 5, 60, own_bytes=60)
    account.clear(5)
    assert account.peaks() == [60]
    account.set_mark()
    assert account.peaks() == [0, 60]
    account.close()


def test_the_peaks_of_the_last_marks_are_kept_and_none_passes_the_limit(account: Account) -> None:
    for number in range(20):
        account.set_mark()
        took(account, 1, 20 - number, own_bytes=0)
    assert account.mark == 20
    assert account.peaks() == list(range(1, 1 + MARKS))
    took(account, 1, 1 << 60, own_bytes=0)
    assert account.peaks() == [123456789012] * MARKS
    account.close()


def test_a_worker_cannot_resize_it_under_its_neighbours(account: Account) -> None:
    for size in (0, 2 * SIZE_BYTES):
        with pytest.raises(PermissionError):
            os.ftruncate(account.fd, size)
    account.close()


def test_closing_twice_is_harmless(account: Account) -> None:
    account.close()
    account.close()
