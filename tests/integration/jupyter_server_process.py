"""A real jupyter_server, a process of its own, for the tests of kernels and of the server extension."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


class JupyterServer:
    """A jupyter_server in a folder of its own, with the kernelspecs below ``prefix``."""

    def __init__(
        self,
        folder: Path,
        prefix: Path,
        wait_until: Callable[..., Any],
        options: Sequence[str] = (),
        **environment: str,
    ) -> None:
        environment = {
            **os.environ,
            "JUPYTER_PATH": str(prefix / "share" / "jupyter"),
            **environment,
        }
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
            environment[name] = str(folder / name.lower())
        self.root = folder / "root"
        self.root.mkdir()
        self.token = "integration-test"
        self.log = log = folder / "log"
        command = [
            sys.executable,
            "-m",
            "jupyter_server",
            "--no-browser",
            "--allow-root",
            "--ServerApp.port=0",
            *options,
        ]
        command += [f"--ServerApp.root_dir={self.root}", f"--IdentityProvider.token={self.token}"]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=output, cwd=folder, env=environment
            )
        runtime = Path(environment["JUPYTER_RUNTIME_DIR"])
        info = wait_until(lambda: next(iter(runtime.glob("jpserver-*.json")), None), self.process, log)
        self.url: str = wait_until(lambda: json.loads(info.read_text() or "{}").get("url"), self.process, log)
        # The file says where it is going to listen; that it does is another matter.
        wait_until(self._answers, self.process, log)

    def _answers(self) -> bool:
        try:
            return self.request("GET", "api/status")[0] == 200
        except urllib.error.URLError:
            return False

    def request(
        self, method: str, path: str, body: dict[str, Any] | None = None, token: str | None = None
    ) -> tuple[int, Any]:
        """Status and decoded JSON of one REST request."""
        token = self.token if token is None else token
        request = urllib.request.Request(
            f"{self.url}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"token {token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                text = reply.read()
                return reply.status, json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def text(self, path: str) -> str:
        """What a GET answers, as text."""
        request = urllib.request.Request(
            f"{self.url}{path}", headers={"Authorization": f"token {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            return str(reply.read().decode())

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
