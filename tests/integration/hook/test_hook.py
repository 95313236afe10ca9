"""The hook seen from programs: each of programs/ runs under a slice of the software GPU and checks what it is told.

A program is a learner's: it knows the driver API and nothing of slices. It prints "ok" as its last line.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpu_server.client import ControlClient, Stream
from kernel_hook import library_path

PROGRAMS = Path(__file__).with_name("programs")


def run(
    client: ControlClient, name: str, *, vram: str = "128MiB", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Runs programs/<name>.py under `tfusion run`."""
    command = [
        sys.executable,
        "-m",
        "gpu_server.cli",
        "run",
        "--server",
        str(client.socket),
        "--vram",
        vram,
        "--",
    ]
    return subprocess.run(
        [*command, sys.executable, str(PROGRAMS / f"{name}.py")],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


@pytest.mark.parametrize(
    "name",
    sorted(
        p.stem for p in PROGRAMS.glob("*.py") if p.stem not in ("learner", "images", "no_device", "children")
    ),
)
def test_program(software_daemon: ControlClient, name: str) -> None:
    result = run(software_daemon, name)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1] == "ok", result.stdout + result.stderr


def test_a_child_process_is_a_session_of_its_own_under_the_same_slice(software_daemon: ControlClient) -> None:
    events: list[object] = []
    with software_daemon.watch_events() as stream:
        assert isinstance(stream, Stream)
        result = run(software_daemon, "children")
        assert result.returncode == 0, result.stdout + result.stderr
        for event in stream:
            events.append(event)
            if event.kind.name == "SLICE_CLOSED":
                break
    started = [e for e in events if e.kind.name == "SESSION_STARTED"]  # type: ignore[attr-defined]
    assert len(started) == 3
    assert len({e.slice_id for e in started}) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("visible", ["", "-1", "1", "GPU-00000000"])
def test_hidden_devices_are_no_devices(software_daemon: ControlClient, visible: str) -> None:
    result = run(software_daemon, "no_device", HIDE=visible)
    assert result.returncode == 0, result.stdout + result.stderr


def test_without_a_slice_there_is_no_device_and_nothing_is_said() -> None:
    variables = {k: v for k, v in os.environ.items() if not k.startswith("TFUSION_")}
    result = subprocess.run(
        [sys.executable, str(PROGRAMS / "no_device.py")],
        env={**variables, "LD_PRELOAD": str(library_path())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "tfusion" not in result.stderr


def test_a_wrong_token_is_a_sentence(software_daemon: ControlClient) -> None:
    opened = software_daemon.open_slice("wrong token", vram_bytes=64 << 20)
    try:
        result = subprocess.run(
            [sys.executable, str(PROGRAMS / "no_device.py")],
            env={
                **os.environ,
                "LD_PRELOAD": str(library_path()),
                "TFUSION_SOCKET": str(opened.session_socket),
                "TFUSION_SLICE": opened.slice_id,
                "TFUSION_TOKEN": "0" * 64,
                "EXPECT": "46",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        assert "tfusion: " in result.stderr
    finally:
        software_daemon.close_slice(opened.slice_id, opened.token)


def test_an_image_is_sent_once_for_all_sessions(software_daemon: ControlClient) -> None:
    cache = software_daemon.socket.parent.parent / "cache"

    def images() -> dict[str, int]:
        return {f.name: f.stat().st_ino for f in cache.rglob("*") if len(f.name) == 64}

    assert run(software_daemon, "launches").returncode == 0
    first = images()
    assert first
    assert run(software_daemon, "launches").returncode == 0
    assert images() == first
