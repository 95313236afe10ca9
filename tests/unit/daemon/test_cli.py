"""`tfusion`: one sentence for what is wrong, the program's own status for `run`, and what doctor and status print."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gpu_server import cli, doctor

StartDaemon = Callable[..., Awaitable[Any]]


@pytest.fixture
def hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library that can be preloaded and does nothing."""
    source = tmp_path / "hook.c"
    source.write_text("int cuInit(unsigned flags) { return flags != 0; }\n")
    library = tmp_path / "lib" / "libcuda.so.1"
    library.parent.mkdir()
    subprocess.run(["gcc", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    monkeypatch.setenv("TFUSION_HOOK_LIB", str(library))
    return library


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "gpu_server.cli", *arguments]


async def tfusion(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *command(*arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(stdin), 60)
    return process.returncode or 0, out.decode(), err.decode()


async def test_run_gives_the_programs_status_and_streams(start_daemon: StartDaemon, hook: Path) -> None:
    d = await start_daemon()
    status, out, err = await tfusion(
        "run", "--server", str(d.daemon.control_socket), "--vram", "16MiB", "--",
        "sh", "-c", "cat; echo complaint >&2; echo $TFUSION_SLICE $LD_PRELOAD; exit 23",
        stdin=b"through\n",
    )  # fmt: skip
    first, second = out.splitlines()
    assert (status, first, err) == (23, "through", "complaint\n")
    assert second.endswith(str(hook))
    assert d.daemon.server.registry.empty()


async def test_run_dies_by_the_signal_that_killed_the_program(start_daemon: StartDaemon, hook: Path) -> None:
    d = await start_daemon()
    status, _, _ = await tfusion(
        "run", "--server", str(d.daemon.control_socket), "--", "sh", "-c", "kill -SEGV $$"
    )
    assert status == -signal.SIGSEGV
    assert d.daemon.server.registry.empty()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP])
async def test_run_passes_signals_on(start_daemon: StartDaemon, hook: Path, number: signal.Signals) -> None:
    d = await start_daemon()
    name = number.name.removeprefix("SIG")
    process = await asyncio.create_subprocess_exec(
        *command("run", "--server", str(d.daemon.control_socket), "--", "sh", "-c",
                 f"trap 'echo got {name}; exit 5' {name}; echo up; while :; do sleep 0.05; done"),
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 60) == b"up\n"
    process.send_signal(number)
    assert await asyncio.wait_for(process.stdout.read(), 60) == f"got {name}\n".encode()
    await process.communicate()
    assert process.returncode == 5
    assert d.daemon.server.registry.empty()


async def test_the_program_sees_default_signals(start_daemon: StartDaemon, hook: Path) -> None:
    d = await start_daemon()
    _, out, _ = await tfusion(
        "run", "--server", str(d.daemon.control_socket), "--", "grep", "Sig[BI]", "/proc/self/status"
    )
    masks = {line.split(":")[0]: int(line.split()[1], 16) for line in out.splitlines()}
    assert masks["SigBlk"] == 0
    assert masks["SigIgn"] & (1 << (signal.SIGPIPE - 1)) == 0


async def test_a_killed_run_leaves_its_slice_to_expire(start_daemon: StartDaemon, hook: Path) -> None:
    d = await start_daemon(slice_ttl_s=1.0)
    process = await asyncio.create_subprocess_exec(
        *command("run", "--server", str(d.daemon.control_socket), "--", "sh", "-c", "echo up; read line"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    await asyncio.wait_for(process.stdout.readline(), 60)
    process.kill()
    await d.until(d.daemon.server.registry.empty)
    process.stdin.close()  # the program itself lives until now
    await process.communicate()


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["--", "no-such-program"], 127, "no-such-program was not found."),
        (["--", "/etc/passwd"], 126, "/etc/passwd is not an executable program."),
        (["--vram", "lots", "--", "true"], 1, "'lots' is not a size of memory"),
        (["--vram", "0", "--", "true"], 1, "no GPU memory is of no use"),
        (["--ceiling", "most", "--", "true"], 1, "'most' is no part of the GPU's time"),
        (["--ceiling", "120%", "--", "true"], 1, "above 0 and up to 100"),
        ([], 2, "give the program after '--'"),
        (["--server", "/nowhere.sock", "--", "true"], 1, "/nowhere.sock does not answer"),
    ],
)
async def test_run_says_what_is_wrong(hook: Path, arguments: list[str], status: int, sentence: str) -> None:
    got, out, err = await tfusion("run", *arguments)
    assert (got, out) == (status, "")
    assert sentence in err
    assert len(err.splitlines()) == 1


async def test_run_without_the_hook_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFUSION_HOOK_LIB", "/nowhere/libcuda.so.1")
    status, _, err = await tfusion("run", "--", "true")
    assert status == 1
    assert "TFUSION_HOOK_LIB is /nowhere/libcuda.so.1" in err


async def test_run_says_when_memory_is_short(start_daemon: StartDaemon, hook: Path) -> None:
    d = await start_daemon(memory="64MiB")
    await d.open(48 << 20, "the other")
    status, _, err = await tfusion(
        "run", "--server", str(d.daemon.control_socket), "--vram", "32MiB", "--", "true"
    )
    assert status == 1
    assert (
        '32 MiB were asked for and 16 MiB of 64 MiB are free. In use by 1 slice: "the other" (48 MiB).' in err
    )


async def test_status_shows_gpus_slices_and_sessions(start_daemon: StartDaemon) -> None:
    d = await start_daemon()
    opened = await d.open(name="ada's lab")
    await d.connect(opened)
    server = ("--server", str(d.daemon.control_socket))
    status, out, _ = await tfusion("status", *server)
    assert status == 0
    for word in ("GPU", "ada's lab", "16 MiB", str(os.getpid()), opened.slice_id):
        assert word in out
    assert opened.token not in out
    _, out, _ = await tfusion("status", "--json", *server)
    state = json.loads(out)
    assert (len(state["gpus"]), len(state["slices"]), len(state["sessions"])) == (1, 1, 1)


async def test_status_watches_until_interrupted(start_daemon: StartDaemon) -> None:
    d = await start_daemon()
    process = await asyncio.create_subprocess_exec(
        *command("status", "--watch", "--json", "--server", str(d.daemon.control_socket)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert json.loads(await asyncio.wait_for(process.stdout.readline(), 60))["slices"] == []
    await d.open()
    while not json.loads(await asyncio.wait_for(process.stdout.readline(), 60))["slices"]:
        pass
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert (process.returncode, err) == (130, b"")


async def test_status_without_a_daemon_starts_none(tmp_path: Path) -> None:
    status, _, err = await tfusion("status")
    assert status == 1
    assert "No GPU server runs here." in err
    assert not (tmp_path / "run" / "tfusion").exists()


async def test_serve_says_what_is_wrong_with_its_options(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.py"
    metrics.write_text("c.TFusionServer.metrics_address = 'somewhere'\n")
    for options, sentence in (
        (["--device", "software", "--config", str(metrics)], "Metrics cannot be served at 'somewhere'"),
        (["--oversubscription", "0.5"], "oversubscription"),
        (["--memory", "much"], "write it like 4GiB"),
        (["--config", str(tmp_path / "no.py")], "does not exist"),
        (["--socket", "/tmp/in-the-open.sock"], "open to other users"),
        (["--socket", f"/tmp/{'x' * 120}/s"], "too long"),
    ):
        status, _, err = await tfusion("serve", *options)
        assert status == 1
        assert sentence in err
        assert "Traceback" not in err


class GreetCommand:
    name = "greet"
    help = "say hello"

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("who")

    def run(self, args: Any) -> int:
        print(f"hello {args.who}")
        return 3


class FakeEntry:
    name = "entry"
    value = "somewhere:Something"

    def __init__(self, loaded: object) -> None:
        self.loaded = loaded

    def load(self) -> object:
        if isinstance(self.loaded, Exception):
            raise self.loaded
        return self.loaded


@pytest.mark.parametrize("loaded", [GreetCommand, GreetCommand()])
def test_other_packages_add_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], loaded: object
) -> None:
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [FakeEntry(loaded)])
    assert cli.main(["greet", "ada"]) == 3
    assert capsys.readouterr().out == "hello ada\n"


def test_a_broken_plugin_is_named_and_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [FakeEntry(ImportError("no luck"))])
    with pytest.raises(SystemExit) as end:
        cli.main(["greet"])
    assert end.value.code == 2
    assert "'entry' (somewhere:Something) cannot be loaded: no luck" in capsys.readouterr().err


def test_doctor_reports_every_check_and_fails_if_one_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks() -> doctor.Finding:
        raise ZeroDivisionError("by surprise")

    found = [
        ("good", lambda: doctor.Finding(True, "fine")),
        ("bad", lambda: doctor.Finding(False, "not fine", "mend it")),
        ("broken", breaks),
    ]
    monkeypatch.setattr(doctor, "checks", lambda server: found)
    assert cli.main(["doctor"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "OK   good: fine",
        "FAIL bad: not fine",
        "     -> mend it",
        "FAIL broken: ZeroDivisionError: by surprise",
        "2 checks failed.",
    ]
    del found[1:]
    assert cli.main(["doctor"]) == 0


def test_doctor_loads_libraries_in_a_process_of_their_own(hook: Path, tmp_path: Path) -> None:
    assert doctor.check_hook().ok
    hook.write_bytes(b"no library")
    finding = doctor.check_hook()
    assert not finding.ok
    assert "does not load" in finding.detail
    source = tmp_path / "crash.c"
    source.write_text("#include <signal.h>\n__attribute__((constructor)) void f(void) { raise(SIGSEGV); }\n")
    subprocess.run(["gcc", "-shared", "-fPIC", str(source), "-o", str(hook)], check=True)
    assert "crashes when it is loaded (signal 11)" in doctor.check_hook().detail


def test_doctor_looks_at_the_runtime_folder(tmp_path: Path) -> None:
    assert doctor.check_runtime_folder().ok
    (tmp_path / "run" / "tfusion").mkdir(mode=0o755)
    with pytest.raises(cli.TFusionError, match="open to other users"):
        doctor.check_runtime_folder()


def test_doctor_knows_whether_a_daemon_should_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_server(None).ok
    monkeypatch.setenv("TFUSION_SERVER", str(tmp_path / "gone.sock"))
    finding = doctor.check_server(None)
    assert not finding.ok
    assert "TFUSION_SERVER" in finding.advice
