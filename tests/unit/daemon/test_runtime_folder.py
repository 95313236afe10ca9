"""The runtime folder is ours alone, and one daemon's at a time."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gpu_server import runtime_folder
from gpu_server.errors import TFusionError
from gpu_server.runtime_folder import (
    AlreadyRunning,
    FolderLock,
    check_private,
    make_private,
    remove_stale_socket,
)


def test_it_is_made_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_private(tmp_path / "f")
    finally:
        os.umask(before)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o700
    make_private(tmp_path / "f")


def test_a_link_is_refused_even_to_a_private_folder(tmp_path: Path) -> None:
    make_private(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(TFusionError, match="is a link"):
        make_private(tmp_path / "link")


@pytest.mark.parametrize("mode", [0o777, 0o750, 0o701])
def test_a_folder_that_others_can_enter_is_refused(tmp_path: Path, mode: int) -> None:
    make_private(tmp_path / "f")
    (tmp_path / "f").chmod(mode)
    with pytest.raises(TFusionError, match=f"mode {mode:04o}"):
        check_private(tmp_path / "f")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    make_private(tmp_path / "f")
    os.chown(tmp_path / "f", 12345, -1)
    with pytest.raises(TFusionError, match="uid 12345"):
        check_private(tmp_path / "f")


def test_the_default_is_in_xdg_runtime_dir_or_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert runtime_folder.default_folder() == tmp_path / "tfusion"
    for useless in ("", "relative", str(tmp_path / "missing")):
        monkeypatch.setenv("XDG_RUNTIME_DIR", useless)
        assert runtime_folder.default_folder().name == f"tfusion-{os.geteuid()}"


def test_the_lock_is_one_daemons_and_free_when_its_process_is_killed(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, pathlib; from gpu_server.runtime_folder import FolderLock;"
            "lock = FolderLock(pathlib.Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()",
            str(tmp_path),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(runtime_folder.__file__).parents[1])},
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    with holder.stdin, holder.stdout:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(AlreadyRunning, match=f"process {holder.pid}"):
            FolderLock(tmp_path)
        holder.kill()
        holder.wait()
    FolderLock(tmp_path).release()


def test_the_lock_file_is_not_followed_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / runtime_folder.LOCK_FILE).symlink_to(tmp_path / "victim")
    with pytest.raises(TFusionError, match="cannot be opened"):
        FolderLock(tmp_path)
    assert (tmp_path / "victim").read_text() == "precious"


def test_only_a_dead_socket_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    remove_stale_socket(path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(AlreadyRunning):
            remove_stale_socket(path)
    remove_stale_socket(path)
    assert not path.exists()
    path.write_text("a file")
    with pytest.raises(TFusionError, match="not a socket"):
        remove_stale_socket(path)
    assert path.read_text() == "a file"


def test_a_path_too_long_for_a_socket_is_refused() -> None:
    with pytest.raises(TFusionError, match="107 bytes"):
        runtime_folder.check_socket_path(Path("/tmp") / ("x" * 120))
