"""The admin token: a private file, new each time, and a digest that fits every slice."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gpu_server.admin_token import read_admin_token, remove_admin_token, write_admin_token
from gpu_server.errors import SliceNotFound, TFusionError, WrongToken
from gpu_server.slices import GpuCapacity, SliceLimits, SliceRegistry

ADMIN = "ab" * 32


def registry(admin_token: str = ADMIN) -> SliceRegistry:
    limits = SliceLimits(1 << 20, 0, 60.0, 4)
    return SliceRegistry([GpuCapacity("GPU-1", 1 << 30)], limits, lambda: 0.0, admin_token)


def test_the_file_is_private_whatever_the_umask_and_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "admin.token"
    path.write_text("of a killed daemon")
    path.chmod(0o666)
    before = os.umask(0)
    try:
        token = write_admin_token(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_admin_token(tmp_path / "control.sock") == token
    assert write_admin_token(tmp_path) != token
    remove_admin_token(tmp_path)
    remove_admin_token(tmp_path)
    assert not path.exists()


def test_a_link_in_its_place_is_replaced_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("untouched")
    (tmp_path / "admin.token").symlink_to(elsewhere)
    with pytest.raises(TFusionError):
        read_admin_token(tmp_path / "control.sock")
    write_admin_token(tmp_path)
    assert elsewhere.read_text() == "untouched"
    assert not (tmp_path / "admin.token").is_symlink()


def test_without_the_file_the_error_says_who_may(tmp_path: Path) -> None:
    with pytest.raises(TFusionError, match="by the user who runs the server"):
        read_admin_token(tmp_path / "control.sock")


def test_the_admin_token_fits_every_open_slice() -> None:
    slices = registry()
    opened, token = slices.open("one", 1 << 20)
    assert slices.owned(opened.slice_id, token) == (opened, False)
    assert slices.owned(opened.slice_id, ADMIN) == (opened, True)
    with pytest.raises(SliceNotFound):
        slices.owned("nobody", ADMIN)
    slices.close(opened.slice_id, ADMIN)
    with pytest.raises(SliceNotFound):
        slices.owned(opened.slice_id, ADMIN)


@pytest.mark.parametrize("wrong", ["", "ab", ADMIN.upper(), ADMIN + "\n", "cd" * 32])
def test_what_is_nearly_the_admin_token_fits_none(wrong: str) -> None:
    slices = registry()
    opened, _ = slices.open("one", 1 << 20)
    with pytest.raises(WrongToken):
        slices.owned(opened.slice_id, wrong)


@pytest.mark.parametrize("token", ["", "0" * 64])
def test_a_registry_without_an_admin_token_has_none(token: str) -> None:
    slices = registry("")
    opened, _ = slices.open("one", 1 << 20)
    with pytest.raises(WrongToken):
        slices.owned(opened.slice_id, token)


def test_the_admin_token_begins_no_session() -> None:
    slices = registry()
    opened, token = slices.open("one", 1 << 20)
    assert slices.authorize(opened.slice_id, token) is opened
    with pytest.raises(WrongToken):
        slices.authorize(opened.slice_id, ADMIN)
