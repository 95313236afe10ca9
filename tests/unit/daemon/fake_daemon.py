"""`tfusion serve` with workers whose replay core is a double, for tests that need a daemon in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

from gpu_server import cli, daemon

FAKE_WORKER = (sys.executable, str(Path(__file__).with_name("fake_core_worker.py")))


class DaemonWithDoubles(daemon.Daemon):
    def __init__(self, config: daemon.TFusionServer) -> None:
        super().__init__(config, FAKE_WORKER)


daemon.Daemon = DaemonWithDoubles  # type: ignore[misc]
sys.exit(cli.main(["serve", *sys.argv[1:]]))
