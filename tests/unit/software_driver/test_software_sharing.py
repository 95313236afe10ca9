"""Several processes on one software GPU; the end of a process with work left; fork."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Script = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., "subprocess.Popen[str]"]

MEMORY = 256 << 20

PREPARE = """
import sys
driver("cuInit", 0)
driver("cuCtxSetCurrent", driver.get("cuDevicePrimaryCtxRetain", 0))
"""

# Obeys one command a line: "alloc BYTES", "map BYTES", "free" (the last allocation), "info"; answers with one line.
WORKER = (
    PREPARE
    + """
kept = []
for line in sys.stdin:
    command, *numbers = line.split()
    if command == "alloc":
        address = ctypes.c_uint64()
        print(driver.result("cuMemAlloc_v2", ctypes.byref(address), int(numbers[0])), flush=True)
        kept.append(address.value)
    elif command == "map":
        where = driver.get("cuMemAddressReserve", int(numbers[0]), 0, 0, 0)
        driver.map_memory(where, int(numbers[0]))
        print(0, flush=True)
    elif command == "free":
        print(driver.result("cuMemFree_v2", kept.pop()), flush=True)
    elif command == "info":
        print(*driver.memory_info(), flush=True)
"""
)


@pytest.fixture
def shared(tmp_path: Path) -> dict[str, str]:
    return {"TFUSION_SOFTWARE_STATE": str(tmp_path / "gpu.state"), "TFUSION_SOFTWARE_MEMORY": str(MEMORY)}


def ask(process: subprocess.Popen[str], command: str) -> list[int]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(command + "\n")
    process.stdin.flush()
    return [int(word) for word in process.stdout.readline().split()]


def test_processes_share_one_memory(start_script: Start, shared: dict[str, str]) -> None:
    first, second = start_script(WORKER, **shared), start_script(WORKER, **shared)
    assert ask(first, "info") == ask(second, "info") == [MEMORY, MEMORY]
    assert ask(first, f"alloc {200 << 20}") == [0]
    assert ask(second, "info") == [56 << 20, MEMORY]
    assert ask(second, f"alloc {100 << 20}") == [2]
    assert ask(second, f"map {50 << 20}") == [0]
    assert ask(first, "info") == [6 << 20, MEMORY]
    assert ask(first, "free") == [0]
    assert ask(second, f"alloc {100 << 20}") == [0]


def test_memory_of_a_killed_process_is_free_again(start_script: Start, shared: dict[str, str]) -> None:
    victim, witness = start_script(WORKER, **shared), start_script(WORKER, **shared)
    assert ask(victim, f"alloc {100 << 20}") == [0]
    assert ask(victim, f"map {100 << 20}") == [0]
    assert ask(witness, f"alloc {200 << 20}") == [2]
    victim.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, victim.pid, os.WEXITED | os.WNOWAIT)  # ended, and still a zombie
    assert ask(witness, f"alloc {200 << 20}") == [0]
    assert ask(witness, "free") == [0]
    assert ask(witness, "info") == [MEMORY, MEMORY]


def test_memory_of_an_ended_process_is_free_again(run_script: Script, shared: dict[str, str]) -> None:
    for _ in range(3):
        done = run_script(PREPARE + f"driver.allocate({200 << 20}); print(driver.memory_info()[0])", **shared)
        assert done.stdout.strip() == str(56 << 20)


def test_uuid_belongs_to_the_state_file(run_script: Script, shared: dict[str, str], tmp_path: Path) -> None:
    show = """
driver("cuInit", 0)
uuid = ctypes.create_string_buffer(16)
driver("cuDeviceGetUuid_v2", uuid, 0)
print(uuid.raw.hex())
"""
    first, again = run_script(show, **shared).stdout, run_script(show, **shared).stdout
    other = run_script(show, **shared | {"TFUSION_SOFTWARE_STATE": str(tmp_path / "other.state")}).stdout
    assert len(first.strip()) == 32
    assert first == again != other


def test_state_file_is_private(run_script: Script, shared: dict[str, str]) -> None:
    assert run_script("driver('cuInit', 0)", **shared).returncode == 0
    assert stat.S_IMODE(os.stat(shared["TFUSION_SOFTWARE_STATE"]).st_mode) == 0o600


@pytest.mark.parametrize("content", [b"x" * 100, bytes(50000)])
def test_a_file_of_another_kind_is_refused(
    run_script: Script, shared: dict[str, str], content: bytes
) -> None:
    Path(shared["TFUSION_SOFTWARE_STATE"]).write_bytes(content)
    done = run_script("print(driver.result('cuInit', 0))", **shared)
    assert done.stdout.strip() == "802"
    assert shared["TFUSION_SOFTWARE_STATE"] in done.stderr
    assert Path(shared["TFUSION_SOFTWARE_STATE"]).read_bytes() == content


def test_a_folder_that_is_not_there_is_named(run_script: Script, shared: dict[str, str]) -> None:
    done = run_script(
        "print(driver.result('cuInit', 0))", **shared | {"TFUSION_SOFTWARE_STATE": "/no/where/state"}
    )
    assert done.stdout.strip() == "802"
    assert "/no/where/state" in done.stderr


def test_many_processes_start_at_once(start_script: Start, shared: dict[str, str]) -> None:
    workers = [start_script(WORKER, **shared) for _ in range(6)]
    for worker in workers:
        assert ask(worker, f"alloc {40 << 20}") == [0]
    assert ask(workers[0], "info") == [MEMORY - 6 * (40 << 20), MEMORY]


@pytest.mark.parametrize("way", ["pass", "sys.exit(0)", "raise SystemExit(0)"])
def test_exit_with_an_endless_kernel_running(run_script: Script, way: str) -> None:
    done = run_script(
        PREPARE
        + f"""
module = driver.load(PTX)
memory = driver.allocate(4)
driver.launch(driver.function(module, "spin"), grid=(64, 1, 1), block=(64, 1, 1))
for _ in range(100):
    driver.launch(driver.function(module, "store"), ctypes.c_uint64(memory), ctypes.c_uint32(1))
assert driver.result("cuStreamQuery", 0) == NOT_READY
print("leaving", flush=True)
{way}
""",
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "leaving\n"), done.stderr


def test_calls_after_exit_began_are_refused(run_script: Script) -> None:
    # A function registered before cuInit runs after the driver's own.
    done = run_script("""
import os
@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def late(_):
    os.write(1, f"{driver.result('cuCtxSynchronize')}\\n".encode())
ctypes.CDLL(None).__cxa_atexit(late, None, None)
driver("cuInit", 0)
ctypes.CDLL(None).exit(0)
""")
    assert done.stdout.strip() == "4", done.stderr


def test_child_of_a_fork_is_told_so(run_script: Script) -> None:
    done = run_script(
        PREPARE
        + """
import os
memory = driver.allocate(4096)
child = os.fork()
if child == 0:
    codes = [driver.result("cuCtxSynchronize"), driver.result("cuMemFree_v2", memory), driver.result("cuInit", 0)]
    os._exit(0 if codes == [NOT_INITIALIZED] * 3 else 1)
assert os.waitpid(child, 0)[1] == 0
driver("cuMemFree_v2", memory)
driver("cuCtxSynchronize")
print("parent goes on")
"""
    )
    assert done.stdout == "parent goes on\n", done.stderr
