"""`tfusion status`: the daemon's GPUs, slices and sessions, once or as they change."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_server.errors import ServerUnreachable, SliceNotFound

if TYPE_CHECKING:
    from gpu_server.client import ControlClient

WATCH_PERIOD_S = 1.0


class StatusCommand:
    """`tfusion status [--watch] [--json] [--story SLICE]`; never starts a daemon."""

    name = "status"
    help = "show the GPUs, slices and sessions of the GPU server"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the options."""
        parser.add_argument("--server", type=Path, metavar="PATH", help="control socket of a GPU server")
        parser.add_argument(
            "--watch", action="store_true", help="show it again every second until interrupted"
        )
        parser.add_argument(
            "--story", metavar="SLICE", help="what was decided about a slice (its id or its name), and why"
        )
        parser.add_argument("--json", action="store_true", help="one JSON object per line instead of tables")

    def run(self, args: argparse.Namespace) -> int:
        """Prints the state; exit status 1 if no daemon answers."""
        with connect_running(args.server) as client:
            while True:
                state = _story(client, args.story) if args.story else _state(client)
                if args.json:
                    print(json.dumps(state), flush=True)
                else:
                    clear = "\x1b[H\x1b[2J" if args.watch and sys.stdout.isatty() else ""
                    shown = render_story(state["story"]) if args.story else render(state)
                    print(clear + shown, end="\n" if args.watch else "", flush=True)
                if not args.watch:
                    return 0
                time.sleep(WATCH_PERIOD_S)


def connect_running(server: Path | None) -> ControlClient:
    """The daemon at ``server``, or the default one, which is not started; raises ServerUnreachable."""
    from gpu_server.client import SERVER_VARIABLE, connect
    from gpu_server.runtime_folder import CONTROL_SOCKET, default_folder, is_alive

    default = default_folder() / CONTROL_SOCKET
    server = server or (None if os.environ.get(SERVER_VARIABLE) else default)
    if server == default and not is_alive(default):
        raise ServerUnreachable(
            "No GPU server runs here. Start one with 'tfusion serve'; a vGPU kernel or 'tfusion run' starts one "
            "by itself."
        )
    return connect(server)


def _state(client: Any) -> dict[str, list[dict[str, Any]]]:
    return {
        "gpus": [dataclasses.asdict(gpu) for gpu in client.list_gpus()],
        "slices": [dataclasses.asdict(s) for s in client.list_slices()],
        "sessions": [dataclasses.asdict(s) for s in client.list_sessions()],
    }


def _story(client: Any, wanted: str) -> dict[str, list[dict[str, Any]]]:
    named = [s.slice_id for s in client.list_slices() if wanted in (s.slice_id, s.name)]
    story = [entry for slice_id in named or [wanted] for entry in client.story(slice_id)]
    if not story and not named:
        raise SliceNotFound(
            f"No slice '{wanted}' is open, and no story of one is left. 'tfusion status' shows names and ids."
        )
    return {"story": [dataclasses.asdict(entry) for entry in story]}


def render_story(story: list[dict[str, Any]]) -> str:
    """A line per decision, oldest first."""
    return "".join(f"{-entry['age_s']:10.3f} s  {entry['sentence']}\n" for entry in story)


def render(state: dict[str, list[dict[str, Any]]]) -> str:
    """The tables for people."""
    from gpu_server.sizes import format_size

    gpus = [
        (
            gpu["name"],
            " / ".join(format_size(gpu[name]) for name in ("used_bytes", "reserved_bytes", "memory_bytes")),
            f"{gpu['utilization_percent']}%" if gpu["utilization_percent"] >= 0 else "-",
            gpu["driver_version"] or "-",
            gpu["uuid"],
        )
        for gpu in state["gpus"]
    ]
    slices = [
        (
            s["name"],
            s["owner"] or "-",
            f"{format_size(s['used_bytes'])} / {format_size(s['vram_bytes'])}",
            f"{s['share']:g}" + (f", at most {s['ceiling']:.0%}" if s["ceiling"] else ""),
            str(s["sessions"]),
            _duration(s["age_s"]),
            s["slice_id"],
        )
        for s in state["slices"]
    ]
    sessions = [
        (
            s["client_name"] or "-",
            str(s["client_pid"]),
            f"{format_size(s['resident_bytes'])} + {format_size(s['swapped_bytes'])}",
            s["phase"] + (f", place {s['place']}" if s["place"] else ""),
            _duration(s["gpu_s"]),
            _duration(s["waited_s"]),
            str(s["calls"]),
            str(s["worker_pid"]),
            _duration(s["age_s"]),
            s["slice_id"],
        )
        for s in state["sessions"]
    ]
    parts = [
        _table(("GPU", "USED / RESERVED / ALL", "BUSY", "DRIVER", "UUID"), gpus),
        _table(("SLICE", "OWNER", "USED / LIMIT", "SHARE", "SESSIONS", "AGE", "ID"), slices)
        if slices
        else "No slice is open.\n",
    ]
    if sessions:
        parts.append(
            _table(
                (
                    "PROCESS",
                    "PID",
                    "ON GPU + HOST",
                    "NOW",
                    "GPU",
                    "WAITED",
                    "CALLS",
                    "WORKER",
                    "AGE",
                    "SLICE",
                ),
                sessions,
            )
        )
    return "\n".join(parts)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n"
        for row in [head, *rows]
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
