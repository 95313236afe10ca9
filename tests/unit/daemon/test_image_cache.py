"""The image cache stays within its size, and what was used last stays longest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpu_server import image_cache
from gpu_server.errors import TFusionError


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    (folder / "sub").mkdir(parents=True)
    for age, name in enumerate(["new", "sub/middle", "old"]):
        (folder / name).write_bytes(bytes(100))
        os.utime(folder / name, (10_000 - age, 10_000 - age))
    assert image_cache.trim(folder, 250) == 100
    assert not (folder / "old").exists()
    assert image_cache.trim(folder, 250) == 0
    assert image_cache.trim(folder, 0) == 200


def test_links_are_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    (tmp_path / "victim").write_bytes(bytes(1000))
    (folder / "link").symlink_to(tmp_path / "victim")
    assert image_cache.trim(folder, 0) == 0
    assert (tmp_path / "victim").exists()


def test_a_folder_that_others_can_write_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    image_cache.prepare(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    with pytest.raises(TFusionError, match="written by others"):
        image_cache.prepare(folder)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TFusionError, match="file/cache"):
        image_cache.prepare(tmp_path / "file" / "cache")
