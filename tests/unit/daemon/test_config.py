"""Configuration: files, options over them, and sentences for what cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_server.config import TFusionServer, default_config_file, load_config
from gpu_server.errors import TFusionError


def test_options_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "c.py"
    file.write_text("c.TFusionServer.memory = '2GiB'\nc.TFusionServer.warm_workers = 3\n")
    config = load_config(file, {"memory": "1GiB"})
    assert (config.memory, config.warm_workers) == (1 << 30, 3)


def test_json_files_are_read_as_well(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_text('{"TFusionServer": {"slice_ttl_s": 5.0}}')
    assert load_config(file, {}).slice_ttl_s == 5.0


def test_the_default_file_is_read_when_it_exists() -> None:
    assert load_config(None, {}).warm_workers == 1
    default_config_file().parent.mkdir(parents=True)
    default_config_file().write_text("c.TFusionServer.warm_workers = 2\n")
    assert load_config(None, {}).warm_workers == 2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("c.TFusionServer.memroy = 1", r"TFusionServer\.memroy, which does not exist"),
        ("c.TFusionServer.device = 'tpu'", "device"),
        ("c.TFusionServer.memory = '4 cats'", "write it like 4GiB"),
        ("c.TFusionServer.memory = -1", "size of memory"),
        ("c.TFusionServer.max_sessions_per_slice = 65", "64"),
        ("c.TFusionServer.slice_ttl_s = float('inf')", "number of seconds"),
        ("this is no Python", "could not be read"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "c.py"
    file.write_text(text)
    with pytest.raises(TFusionError, match=sentence):
        load_config(file, {})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TFusionError, match=r"nowhere\.py does not exist"):
        load_config(tmp_path / "nowhere.py", {})


def test_every_setting_is_documented() -> None:
    for name, trait in TFusionServer.class_own_traits(config=True).items():
        assert trait.help.endswith((".", ").")), name


def test_paths_come_from_the_standard_variables(tmp_path: Path) -> None:
    config = load_config(None, {})
    assert config.control_socket() == tmp_path / "run" / "tfusion" / "control.sock"
    assert config.image_cache() == tmp_path / "cache" / "tfusion" / "images"
