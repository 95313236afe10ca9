"""A daemon with the settings of an experiment, and what it says of its slices."""

from __future__ import annotations

import sys
import urllib.request
from types import TracebackType

from daemon import TFUSION, Daemon, NotReady
from prometheus_client.parser import text_string_to_metric_families

from gpu_server.client import ControlClient, Session
from gpu_server.errors import TFusionError
from sharing.process import Failed, Process, start_all
from sharing.scale import Scale


class Host:
    """The daemon and the processes that were started. Use with `with`; at the end nothing is left."""

    def __init__(self, scale: Scale, **settings: object) -> None:
        """`settings` are those of c.TFusionServer. Raises Failed if the daemon does not start."""
        self.scale = scale
        self._daemon = Daemon()
        self.folder, self.socket, self.environment = (
            self._daemon.folder,
            self._daemon.socket,
            self._daemon.environment,
        )
        if scale.rehearsal:
            self.environment["TFUSION_BENCH_SMALL"] = "1"
        chosen: dict[str, object] = {
            "device": "software" if scale.rehearsal else "nvidia",
            "memory": scale.gpu_bytes,
            "metrics_address": "127.0.0.1:0",
            **settings,
        }
        file = self.folder / "configuration.py"
        file.write_text("".join(f"c.TFusionServer.{name} = {value!r}\n" for name, value in chosen.items()))
        # Iterations and microseconds of the kernel that all count with (fairness.same_kernel).
        self.kernel: tuple[int, float] | None = None
        self._processes: list[Process] = []
        self.client = ControlClient(self.socket)
        try:
            self._daemon.start("--config", str(file))
        except BaseException as error:
            self.stop()
            if isinstance(error, NotReady):
                raise Failed(str(error)) from None
            raise

    def log(self) -> str:
        """What the daemon has said so far."""
        return self._daemon.log()

    def process(self, *program: str, gib: float, share: float = 1.0, ceiling: str = "") -> Process:
        """Starts a module of this folder under a slice; gives it before it is ready."""
        options = ["--vram", str(self.scale.size(gib)), "--share", str(share)]
        if ceiling:
            options += ["--ceiling", ceiling]
        run = [*TFUSION, "run", "--server", str(self.socket), *options, "--"]
        return self._begin([*run, sys.executable, "-m", *program])

    def native(self, *program: str, gib: float) -> Process:
        """The same without a slice; in a rehearsal, where there is no GPU, under one."""
        if self.scale.rehearsal:
            return self.process(*program, gib=gib)
        return self._begin([sys.executable, "-m", *program])

    def _begin(self, command: list[str]) -> Process:
        errors = self.folder / f"process-{len(self._processes)}.log"
        self._processes.append(Process(command, self.environment, errors))
        return self._processes[-1]

    def started(self, count: int, gib: float, size: float = 0.0, native: bool = False) -> list[Process]:
        """So many `load` processes, each of which has opened the device and has taken `size` GiB."""
        begin = self.native if native else self.process
        processes = [begin("sharing.load", gib=gib) for _ in range(count)]
        start_all(processes)
        if size:
            for process in processes:
                process.order("take", size=self.scale.size(size))
        return processes

    def session(self, process: Process) -> Session:
        """What the daemon says of its session. Raises Failed if there is none."""
        for session in self.client.list_sessions():
            if session.client_pid == process.pid:
                return session
        raise Failed(f"the daemon knows no session of process {process.pid}")

    def swaps(self) -> dict[str, tuple[float, float]]:
        """By direction, "out" and "in": bytes and seconds of all slices so far, from the metrics."""
        port = next(line.split()[-1] for line in self.log().splitlines() if "metrics at port" in line)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            families = {f.name: f for f in text_string_to_metric_families(answer.read().decode())}
        totals = {}
        for direction in ("out", "in"):
            size, seconds = (
                sum(s.value for s in families[name].samples if s.labels.get("direction") == direction)
                for name in ("tfusion_slice_swap_bytes", "tfusion_slice_swap_seconds")
            )
            totals[direction] = size, seconds
        return totals

    def evidence(self) -> dict[str, object]:
        """What explains a failure: the stories of the slices, the sessions, the ends of the logs."""
        seen: dict[str, object] = {
            "log": self.log()[-2000:],
            "processes": [p.words()[-300:] for p in self._processes],
        }
        try:
            sessions = self.client.list_sessions()
            seen["sessions"] = [str(session) for session in sessions]
            seen["stories"] = {
                session.slice_id: [
                    f"{e.age_s:.3f} s ago: {e.sentence}" for e in self.client.story(session.slice_id)[-40:]
                ]
                for session in sessions
            }
        except TFusionError as error:
            seen["sessions"] = f"the daemon does not answer: {error}"
        return seen

    def gpu(self) -> str:
        """The GPU and its driver, in words."""
        gpu = self.client.list_gpus()[0]
        return f"{gpu.name}, driver {gpu.driver_version or 'unknown'}"

    def let_go(self) -> None:
        """Ends all processes; the daemon stays."""
        for process in self._processes:
            process.let_go()
        for process in self._processes:
            process.end()
        self._processes.clear()

    def stop(self) -> None:
        """Ends processes and daemon, and forgets the folder."""
        self.let_go()
        self.client.close()
        self._daemon.stop()

    def __enter__(self) -> Host:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
