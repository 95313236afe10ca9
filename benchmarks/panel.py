"""What the panel costs: many kernels that use the GPU now and then, and the panel open in a browser for minutes.

Prints the processor time of the Jupyter server's process, as a part of one core, and what the page holds in memory
after collecting garbage, at the first minute and at the last. Fails if the page has grown. Needs JupyterLab, Playwright
and a Chromium:

    cd build/run && ../../.venv/bin/python ../../benchmarks/panel.py --kernels 30 --minutes 10
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil
from jupyter_client.blocking.client import BlockingKernelClient
from playwright.sync_api import CDPSession, sync_playwright

from jupyter_tfusion.kernelspec import install_kernelspec

TOKEN = "panel-benchmark"
DAEMON = """
c.TFusionServer.device = "software"
c.TFusionServer.memory = "768MiB"
c.TFusionServer.warm_workers = 1
"""
LEARNER = """
import random, time
from cuda.core import Device, LaunchConfig, Program, ProgramOptions, launch
import numpy as np
device = Device()
device.set_current()
stream = device.create_stream()
source = 'extern "C" __global__ void halve(float* x, int n) { for (int k = 0; k < n; k++) x[threadIdx.x] *= 0.5f; }'
options = ProgramOptions(std="c++17", arch=f"sm_{device.arch}")
halve = Program(source, code_type="c++", options=options).compile("ptx").get_kernel("halve")
held = device.allocate(4 << 20, stream=stream)
while True:
    launch(stream, LaunchConfig(grid=1, block=32), halve, held, np.int32(2000))
    stream.sync()
    time.sleep(random.uniform(5, 25))
"""
GROWTH = 1.1
"""A page may hold so many times what it held at the first minute: its charts fill in the first three."""


class Server:
    """A Jupyter server with an embedded daemon, and kernels that are at work."""

    def __init__(self, folder: Path) -> None:
        install_kernelspec(prefix=str(folder / "prefix"), vram="20MiB")
        config = folder / "config" / "tfusion"
        config.mkdir(parents=True)
        (config / "tfusion_server_config.py").write_text(DAEMON)
        (folder / "run").mkdir(mode=0o700)
        (folder / "root").mkdir()
        environment = {
            **os.environ,
            "JUPYTER_PATH": str(folder / "prefix" / "share" / "jupyter"),
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_CACHE_HOME": str(folder / "cache"),
        }
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
            environment[name] = str(folder / name.lower())
        self.runtime = Path(environment["JUPYTER_RUNTIME_DIR"])
        self.folder = folder
        command = [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.port=0",
            f"--ServerApp.root_dir={folder / 'root'}", f"--IdentityProvider.token={TOKEN}",
        ]  # fmt: skip
        with (folder / "log").open("wb") as log:
            self.process = psutil.Popen(command, stdout=log, stderr=log, cwd=folder, env=environment)
        self.url = ""
        while not self.url:
            time.sleep(0.2)
            for info in self.runtime.glob("jpserver-*.json"):
                text = info.read_text()
                self.url = str(json.loads(text)["url"]) if text.endswith("}") else ""

    def start_kernel(self, number: int) -> None:
        """A notebook's kernel that works now and then."""
        session = self.request(
            "POST",
            "api/sessions",
            {
                "path": f"lab-{number}.ipynb",
                "type": "notebook",
                "name": "",
                "kernel": {"name": "python3-vgpu"},
            },
        )
        file = self.runtime / f"kernel-{session['kernel']['id']}.json"
        client = BlockingKernelClient(connection_file=str(file))
        client.load_connection_file()
        client.start_channels()
        client.wait_for_ready(timeout=300)
        client.execute(LEARNER)
        client.stop_channels()

    def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The decoded answer of one REST request."""
        request = urllib.request.Request(
            f"{self.url}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"token {TOKEN}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=300) as reply:
            text = reply.read()
        return json.loads(text) if text else None

    def stop(self) -> None:
        """Ends kernels, server and daemon."""
        for kernel in self.request("GET", "api/kernels"):
            self.request("DELETE", f"api/kernels/{kernel['id']}")
        self.process.terminate()
        self.process.wait(timeout=120)
        for process in psutil.process_iter(["cmdline"]):
            command = process.info["cmdline"] or []
            if "--embedded" in command and any(word.startswith(str(self.folder)) for word in command):
                process.terminate()


def held_by(devtools: CDPSession) -> dict[str, int]:
    """What a page holds once its garbage is collected: bytes of scripts' heap, nodes, listeners."""
    devtools.send("HeapProfiler.collectGarbage")
    found = {one["name"]: int(one["value"]) for one in devtools.send("Performance.getMetrics")["metrics"]}
    return {name: found[name] for name in ("JSHeapUsedSize", "Nodes", "JSEventListeners")}


def processor_part(process: psutil.Process, seconds: float) -> float:
    """The part of one core that the process takes in the next seconds."""
    before, began = process.cpu_times(), time.monotonic()
    time.sleep(seconds)
    after = process.cpu_times()
    used = after.user + after.system - before.user - before.system
    return used / (time.monotonic() - began)


def main() -> int:
    """Measures, prints a row of Markdown, and returns 1 if the page has grown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kernels", type=int, default=30)
    parser.add_argument("--minutes", type=int, default=10)
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        print("There is no Chromium. On Debian: apt-get install chromium", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="tf-", dir="/tmp") as folder, sync_playwright() as playwright:
        server = Server(Path(folder))
        try:
            for number in range(options.kernels):
                server.start_kernel(number)
            unseen = processor_part(server.process, 60)
            sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
            browser = playwright.chromium.launch(
                executable_path=chromium, args=[*sandbox, "--disable-gpu", "--disable-background-networking"]
            )
            page = browser.new_page()
            page.goto(f"{server.url}lab?token={TOKEN}")
            page.locator('.lm-TabBar-tab[data-id="jp-tfusion-sidebar"]').click()
            page.wait_for_function(
                "n => document.querySelectorAll('.jp-tfusion-card').length === n", arg=options.kernels
            )
            devtools = page.context.new_cdp_session(page)
            devtools.send("Performance.enable")
            parts, held = [], []
            for _ in range(options.minutes):
                parts.append(processor_part(server.process, 60))
                held.append(held_by(devtools))
                print(f"{len(parts)} min: {parts[-1]:.1%} of a core, {held[-1]}", flush=True)
            browser.close()
        finally:
            server.stop()
    first, last = held[0]["JSHeapUsedSize"], held[-1]["JSHeapUsedSize"]
    mean = sum(parts) / len(parts)
    print(
        f"| {options.kernels} | {unseen:.1%} | {mean:.1%} | {first / 1e6:.1f} MB | {last / 1e6:.1f} MB |"
        f" {held[0]['Nodes']} | {held[-1]['Nodes']} |"
    )
    return 0 if last <= first * GROWTH else 1


if __name__ == "__main__":
    raise SystemExit(main())
