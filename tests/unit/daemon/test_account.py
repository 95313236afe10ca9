"""The account's words are where workers expect them."""

from __future__ import annotations

import mmap
import os
import struct

import pytest

from gpu_server.account import SIZE_BYTES, SLOTS, Account


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


def test_a_worker_cannot_resize_it_under_its_neighbours(account: Account) -> None:
    for size in (0, 2 * SIZE_BYTES):
        with pytest.raises(PermissionError):
            os.ftruncate(account.fd, size)
    account.close()


def test_closing_twice_is_harmless(account: Account) -> None:
    account.close()
    account.close()
