"""NVML, `nvidia-smi` and nvitop of programs under `tfusion run`, on the software GPU with a real daemon.

Each of programs/ prints a JSON value as its last line.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from gpu_server.client import ControlClient
from kernel_hook import PROGRAMS as OURS
from kernel_hook import launch_environment, library_path

PROGRAMS = Path(__file__).with_name("programs")
MIB = 1 << 20
VRAM = 128
Run = Callable[..., Any]


@pytest.fixture
def run(software_daemon: ControlClient) -> Run:
    """Runs programs/<name>.py under a slice of 128 MiB; gives what it answers."""

    def run_program(name: str, *arguments: str, inside: Sequence[str] = (), **variables: str) -> Any:
        command = [sys.executable, "-m", "gpu_server.cli", "run", "--server", str(software_daemon.socket)]
        done = subprocess.run(
            [
                *command,
                "--vram",
                f"{VRAM}MiB",
                "--",
                *inside,
                sys.executable,
                str(PROGRAMS / f"{name}.py"),
                *arguments,
            ],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run_program


def test_a_child_without_a_session_shows_the_memory_and_processes_of_its_slice(
    run: Run, software_daemon: ControlClient
) -> None:
    neighbour = software_daemon.open_slice("neighbour", vram_bytes=VRAM * MIB)
    environment = launch_environment(
        os.environ,
        session_socket=neighbour.session_socket,
        slice_id=neighbour.slice_id,
        token=neighbour.token,
        library=library_path(),
    )
    holder = subprocess.Popen(
        [sys.executable, str(PROGRAMS / "holder.py")],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        said = run("memory_and_processes")
    finally:
        holder.communicate()
        software_daemon.close_slice(neighbour.slice_id, neighbour.token)
    us, other = said["pids"]
    assert said["before"] == {"apps": [], "used": [["0", "128"]]}
    assert said["own"] == {"apps": [[str(us), "64"]], "used": [["64", "64"]]}
    assert said["both"] == {"apps": [[str(us), "64"], [str(other), "32"]], "used": [["96", "32"]]}
    assert said["after"] == said["own"]
    assert "96MiB /    128MiB" in said["table"]
    assert [line.split()[-2] for line in said["table"].splitlines() if f" {us} " in line] == ["64MiB"]
    assert [line.split()[-2] for line in said["table"].splitlines() if f" {other} " in line] == ["32MiB"]
    assert str(holder.pid) not in said["table"]
    assert len({len(line) for line in said["table"].splitlines() if line[:1] in "+|" and line}) == 1


def test_in_a_process_namespace_of_its_own_a_process_has_the_id_that_it_knows(run: Run) -> None:
    namespace = ["unshare", "--user", "--map-root-user", "--pid", "--fork"]
    if not shutil.which("unshare") or subprocess.run([*namespace, "true"], check=False).returncode:
        pytest.skip("this system lets nobody make process namespaces")
    assert run("own_pid", inside=namespace) == [1, [["1", "16"]]]


def test_utilisation_counts_work_that_nobody_waits_for_and_falls_to_nothing_after_it(run: Run) -> None:
    assert run("utilisation") == [True, True]


def test_pynvml_and_nvitop_know_the_slice_with_and_without_a_session(run: Run) -> None:
    said = run("bindings")
    pid = said["pid"]
    for answer in (said["own"], said["child"]):
        assert answer == {
            "count": 1,
            "name": "Software GPU (tfusion)",
            "memory": [VRAM * MIB, 64 * MIB] * 2,
            "processes": [[pid, 64 * MIB]],
            "older": [[pid, 64 * MIB]],
            "details": [[pid, 64 * MIB]],
            "samples": [pid, pid],
            "percent": [True, True],
            "names": ["python"],
            "graphics": [],
            "capability": [7, 5],
            "architecture": True,
            "fields": [3],
            "power": "not supported",
        }
    assert said["nvitop"] == {
        "used": 64 * MIB,
        "total": VRAM * MIB,
        "processes": {str(pid): 64 * MIB},
        "power": True,
        "temperature": True,
    }
    status, screen, complaint = said["once"]
    assert status == 0, complaint
    assert "64.00MiB" in screen
    assert str(pid) in screen


@pytest.mark.parametrize(
    ("arguments", "status", "out", "error"),
    [
        (["-L"], 0, r"GPU 0: Software GPU \(tfusion\) \(UUID: GPU-[0-9a-f-]{36}\)\n", ""),
        (
            ["--query-gpu=name,memory.total,compute_cap,power.draw", "--format=csv"],
            0,
            r"name, memory.total \[MiB\], compute_cap, power.draw \[W\]\n"
            r"Software GPU \(tfusion\), 128 MiB, 7.5, \[N/A\]\n",
            "",
        ),
        (["--query-gpu=memory.free,count", "--format=csv,noheader,nounits"], 0, r"128, 1\n", ""),
        (
            ["--query-gpu=timestamp,driver_version", "--format=csv,noheader"],
            0,
            r"\d{4}/\d\d/\d\d .*, 13\.0\n",
            "",
        ),
        (["--query-compute-apps=pid,used_memory", "--format=csv"], 0, r"pid, used_memory \[MiB\]\n", ""),
        (["-i", "0", "-L"], 0, r"GPU 0: .*\n", ""),
        ([], 0, r"(.|\n)*No running processes found(.|\n)*", ""),
        (["--help-query-gpu"], 0, r"(.|\n)*memory\.used +.*\[MiB\]\n(.|\n)*", ""),
        (["--help"], 0, r"(.|\n)*--query-gpu(.|\n)*", ""),
        (["-i", "1"], 6, "", "There is no GPU '1' here"),
        (["--query-gpu=name,fan", "--format=csv"], 2, "", "'fan' is not a field .*--help-query-gpu lists"),
        (["--query-compute-apps=name,uid", "--format=csv"], 2, "", "'uid' .*--help-query-compute-apps"),
        (["--query-gpu=name"], 2, "", "A query needs --format=csv"),
        (["--query-gpu=name", "--format=xml"], 2, "", "The format 'xml' is not known"),
        (["--format=csv"], 2, "", "--format goes with"),
        (["-l", "0"], 2, "", "above 0"),
        (["--nonsense"], 2, "", "unrecognized arguments: --nonsense"),
    ],
)
def test_the_command_line(run: Run, arguments: list[str], status: int, out: str, error: str) -> None:
    said = run("command_line", *arguments)
    assert said[0] == status, said
    assert re.fullmatch(out, said[1]), said[1]
    assert re.search(error, said[2]), said[2]


def test_a_loop_goes_on_until_it_is_interrupted(run: Run) -> None:
    assert run("loop") == [["index\n", "0\n", "0\n", "0\n"], 130]


def test_a_learners_file_does_not_come_between(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pynvml.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    assert run("command_line", "-L")[0] == 0


def nvidia_smi(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [OURS / "nvidia-smi", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_outside_of_a_slice_it_says_so() -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TFUSION_")}
    for variables in ({}, {"TFUSION_PYTHON": sys.executable}):
        done = nvidia_smi({**environment, **variables})
        assert (done.returncode, done.stdout) == (9, "")
        assert "tfusion run -- nvidia-smi" in done.stderr


def test_of_a_slice_that_is_gone_it_says_so(software_daemon: ControlClient) -> None:
    opened = software_daemon.open_slice("gone", vram_bytes=VRAM * MIB)
    environment = launch_environment(
        os.environ,
        session_socket=opened.session_socket,
        slice_id=opened.slice_id,
        token=opened.token,
        library=library_path(),
    )
    assert nvidia_smi(environment, "-L").returncode == 0
    assert nvidia_smi({**environment, "TFUSION_TOKEN": "0" * 64}).returncode == 15
    software_daemon.close_slice(opened.slice_id, opened.token)
    for variables in ({}, {"TFUSION_SOCKET": "/nowhere/session.sock"}):
        done = nvidia_smi({**environment, **variables})
        assert (done.returncode, done.stdout) == (15, "")
        assert "closed or has expired" in done.stderr


# Stand-ins for NVIDIA's binary: what they print and how they end.
REAL = {
    "content": (
        'print(f"GPU 0: X (UUID: {uuid})" if sys.argv[1:] == ["-L"] else f"real {sys.argv[1:]}")',
        True,
    ),
    "fails": ("sys.exit(9)", False),
    "shows another GPU": ('print("GPU 0: X (UUID: GPU-00000000-0000-0000-0000-000000000000)")', False),
    "shows more": ('print(f"GPU 0: X (UUID: {uuid})\\nGPU 1: Y (UUID: GPU-1)")', False),
    "fails at the table": ('print(f"GPU 0: X (UUID: {uuid})") if sys.argv[1:] else sys.exit(255)', False),
}


@pytest.mark.parametrize("kind", sorted(REAL))
def test_nvidias_own_program_runs_if_it_shows_the_slice_and_ours_else(
    run: Run, tmp_path: Path, kind: str
) -> None:
    body, used = REAL[kind]
    real = tmp_path / "nvidia-smi"
    real.write_text(
        f"#!{sys.executable}\nimport sys\nimport pynvml\npynvml.nvmlInit()\n"
        f"uuid = pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(0))\n{body}\n"
    )
    real.chmod(0o755)
    status, out, _ = run(
        "command_line", "--query-gpu=count", "--format=csv", PATH=f"{tmp_path}:{os.environ['PATH']}"
    )
    assert status == 0
    assert out == ("real ['--query-gpu=count', '--format=csv']\n" if used else "count\n1\n")
