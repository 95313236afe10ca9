"""A real Jupyter server with the extension, as `pip install` enables it, and an embedded daemon on the software GPU."""

from __future__ import annotations

import json
import os
import queue
import select
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import websocket

from gpu_server.client import ControlClient, connect
from jupyter_tfusion.kernelspec import install_kernelspec

sys.path.insert(0, str(Path(__file__).parents[1]))  # pytest's importlib mode leaves it out
from jupyter_server_process import JupyterServer

PATIENCE_S = 90.0
API = "jupyter-tfusion/api"
SLICES = "https://schema.jupyter-tfusion.org/slices/v1"
NOTICES = "https://schema.jupyter-tfusion.org/notices/v1"

DAEMON = """
c.TFusionServer.device = "software"
c.TFusionServer.memory = 64 << 20
c.TFusionServer.oversubscription = 4.0
c.TFusionServer.swap_memory = 256 << 20
c.TFusionServer.cooling_s = 0.0
c.TFusionServer.embedded_idle_s = 600.0
"""

# The guest of the daemon's tests: the driver API through ctypes, so no other package is needed in the kernel.
GUEST = (Path(__file__).parent.parent / "daemon" / "guest.py").read_text().rpartition("\nmain()")[0]


class Events:
    """The standard event stream, read on a thread."""

    def __init__(self, server: Server) -> None:
        url = (
            server.jupyter.url.replace("http", "ws", 1) + f"api/events/subscribe?token={server.jupyter.token}"
        )
        self._socket = websocket.create_connection(url, timeout=PATIENCE_S)
        self._queue: queue.Queue[Any] = queue.Queue()
        self.all: list[Any] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                event = json.loads(self._socket.recv())
            except (OSError, ValueError, websocket.WebSocketException):
                return
            if event.get("schema_id") in (SLICES, NOTICES):
                self._queue.put(event)

    def until(self, condition: Callable[[Any], Any]) -> Any:
        """The next event for which the condition holds."""
        while True:
            event = self._queue.get(timeout=PATIENCE_S)
            self.all.append(event)
            if condition(event):
                return event

    def slice_is(self, kernel_id: str, condition: Callable[[Any], Any]) -> Any:
        """The next word of the kernel's slice for which the condition holds."""

        def found(event: Any) -> Any:
            return next(
                (s for s in event.get("slices", ()) if s["kernel_id"] == kernel_id and condition(s)), None
            )

        return found(self.until(found))

    def notice(self, kernel_id: str) -> Any:
        """The next notice about a kernel."""
        return self.until(lambda e: e["schema_id"] == NOTICES and e["kernel_id"] == kernel_id)

    def close(self) -> None:
        self._socket.close()
        self._thread.join(PATIENCE_S)


class Kernel:
    """A vGPU kernel of the server, asked through its WebSocket."""

    def __init__(self, server: Server, kernel_id: str) -> None:
        self._server, self.kernel_id = server, kernel_id
        self._channels()

    def _channels(self) -> None:
        jupyter = self._server.jupyter
        url = (
            jupyter.url.replace("http", "ws", 1)
            + f"api/kernels/{self.kernel_id}/channels?token={jupyter.token}"
        )
        self._socket = websocket.create_connection(url, timeout=PATIENCE_S)
        assert self.run(GUEST + "\nguest = Guest()") == ""

    def ask(self, command: str) -> str:
        """A command of guest.py: "ok ..." or "error <CUresult>"."""
        self.say(command)
        return self.answer()

    def say(self, command: str) -> None:
        name, *arguments = command.split()
        code = f"try: print('ok', guest.{name}(*{arguments!r}))\nexcept CudaError as error: print('error', error)"
        self._send(code)

    def answer(self) -> str:
        return self._printed().strip()

    def run(self, code: str) -> str:
        self._send(code)
        return self._printed()

    def restart(self) -> None:
        self._socket.close()
        assert self._server.request("POST", f"api/kernels/{self.kernel_id}/restart")[0] == 200
        self._channels()

    def act(self, action: str) -> tuple[int, Any]:
        return self._server.api("POST", f"kernels/{self.kernel_id}/{action}")

    def slice(self) -> Any:
        """Its slice in `state`."""
        slices = self._server.api("GET", "state")[1]["slices"]
        return next(s for s in slices if s["kernel_id"] == self.kernel_id)

    def close(self) -> None:
        self._socket.close()

    def _send(self, code: str) -> None:
        self._asked = uuid.uuid4().hex
        message = {
            "channel": "shell",
            "header": {
                "msg_id": self._asked,
                "session": uuid.uuid4().hex,
                "username": "",
                "version": "5.3",
                "msg_type": "execute_request",
            },
            "parent_header": {},
            "metadata": {},
            "content": {
                "code": code,
                "silent": False,
                "store_history": False,
                "allow_stdin": False,
                "stop_on_error": True,
            },
        }
        self._socket.send(json.dumps(message))

    def _printed(self) -> str:
        printed = ""
        while True:
            reply = json.loads(self._socket.recv())
            if reply["parent_header"].get("msg_id") != self._asked:
                continue
            if reply["msg_type"] == "stream" and reply["content"]["name"] == "stdout":
                printed += reply["content"]["text"]
            elif reply["msg_type"] == "error":
                pytest.fail("\n".join(reply["content"]["traceback"]))
            elif reply["msg_type"] == "status" and reply["content"]["execution_state"] == "idle":
                return printed


class Server:
    """A Jupyter server with the extension and everything around it in a folder of its own."""

    def __init__(self, folder: Path, wait_until: Callable[..., Any], *options: str, **settings: str) -> None:
        self.folder = folder
        self._wait_until = wait_until
        for name in ("run", "config", "cache"):
            (folder / name).mkdir(mode=0o700)
        (folder / "config" / "tfusion").mkdir()
        (folder / "config" / "tfusion" / "tfusion_server_config.py").write_text(DAEMON)
        install_kernelspec(prefix=str(folder / "prefix"), vram="48MiB")
        self.environment = {
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_CACHE_HOME": str(folder / "cache"),
        }
        self.jupyter = JupyterServer(
            folder, folder / "prefix", wait_until, options, **{**self.environment, **settings}
        )
        self._kernels: list[Kernel] = []
        self._events: list[Events] = []

    @property
    def socket(self) -> Path:
        """The control socket of the embedded daemon."""
        return self.folder / "run" / "tfusion" / "control.sock"

    def request(self, method: str, path: str, **more: Any) -> tuple[int, Any]:
        status, body = self.jupyter.request(method, path, **more)
        return status, body

    def api(self, method: str, path: str, **more: Any) -> tuple[int, Any]:
        """A request to the extension."""
        return self.request(method, f"{API}/{path}", **more)

    def kernel(self, name: str = "python3-vgpu") -> Kernel:
        status, body = self.request("POST", "api/kernels", body={"name": name})
        assert status == 201, body
        self._kernels.append(Kernel(self, body["id"]))
        return self._kernels[-1]

    def events(self) -> Events:
        self._events.append(Events(self))
        return self._events[-1]

    def until(self, condition: Callable[[], Any]) -> Any:
        return self._wait_until(condition, self.jupyter.process, self.jupyter.log)

    def daemon(self) -> ControlClient:
        return connect(self.socket)

    def daemon_pid(self) -> int:
        return int((self.socket.parent / "daemon.lock").read_text())

    def stop_daemon(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ends the embedded daemon, if there is one, and waits for that."""
        try:
            pid = self.daemon_pid()
            pidfd = os.pidfd_open(pid)
        except (OSError, ValueError):
            return
        signal.pidfd_send_signal(pidfd, number)
        assert select.select([pidfd], [], [], PATIENCE_S)[0]
        os.close(pidfd)

    def end_kernels(self) -> None:
        for events in self._events:
            events.close()
        for kernel in self._kernels:
            kernel.close()
        self._events, self._kernels = [], []
        for kernel in self.request("GET", "api/kernels")[1]:
            self.request("DELETE", f"api/kernels/{kernel['id']}")

    def close(self) -> None:
        self.end_kernels()
        self.jupyter.stop()
        self.stop_daemon()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, wait_until: Callable[..., Any]) -> Iterator[Server]:
    one = Server(tmp_path_factory.mktemp("extension"), wait_until, "--TFusionExtension.host_view=True")
    yield one
    one.close()


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    """The module's server, without kernels; its users may see the host."""
    yield shared
    shared.end_kernels()


@pytest.fixture
def own_server(
    tmp_path_factory: pytest.TempPathFactory, wait_until: Callable[..., Any]
) -> Iterator[Callable[..., Server]]:
    """Starts a server for one test alone."""
    started: list[Server] = []

    def start(*options: str, **settings: str) -> Server:
        started.append(Server(tmp_path_factory.mktemp("extension"), wait_until, *options, **settings))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture(scope="session")
def extension_server() -> type[Server]:
    """For a module that needs a server of another kind."""
    return Server
