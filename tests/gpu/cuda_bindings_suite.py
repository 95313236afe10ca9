"""cuda-python's own tests of `cuda.bindings`, natively and under a slice: lists what passes natively and fails hooked.

The tests are neither in the wheel nor in this repository. Give the folder of a checkout of the cuda-python repository,
of the version that is installed:

    python tests/gpu/cuda_bindings_suite.py cuda-python/cuda_bindings/tests -- -k "not cufile"

What follows `--` goes to pytest. A test that ends its process, or hangs, counts as crashed; the run is taken up behind
it. Exit status 1 if anything that passes natively does not pass hooked.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULTS = "TFUSION_SUITE_RESULTS"
CRASHED = "crashed"
# One test; the suite has short ones.
SILENCE_S = 120.0
MAX_CRASHES = 200


# --- As a pytest plugin, in the process that runs the tests: notes each test's start and end at once. ---


def note(**line: Any) -> None:
    with open(os.environ[RESULTS], "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def pytest_collection_modifyitems(items: list[Any]) -> None:
    done = read_results(Path(os.environ[RESULTS]))
    items[:] = [item for item in items if item.nodeid not in done]


def pytest_runtest_logstart(nodeid: str) -> None:
    note(id=nodeid, outcome=CRASHED, why="the process ended or hung in it")


def pytest_runtest_logreport(report: Any) -> None:
    # A set-up or tear-down that fails is the test's failure; else the call's outcome stands.
    if report.when == "call" or report.outcome != "passed":
        why = str(report.longrepr).strip().splitlines()[-1:] if report.failed else []
        note(id=report.nodeid, outcome=report.outcome, why="".join(why)[:300])


def pytest_collectreport(report: Any) -> None:
    if report.failed:
        note(
            id=f"{report.nodeid} (collection)",
            outcome="failed",
            why=str(report.longrepr).splitlines()[-1][:300],
        )


# --- As a program. ---


def read_results(file: Path) -> dict[str, dict[str, str]]:
    """The last word on each test."""
    results: dict[str, dict[str, str]] = {}
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            said = json.loads(line)
            before = results.get(said["id"])
            if before is None or before["outcome"] in (CRASHED, "passed"):
                results[said["id"]] = said
    return results


def run_suite(command: list[str], results: Path, log: Path) -> dict[str, dict[str, str]]:
    """Runs pytest until every test has a result, starting it again behind each crash."""
    # The plugin is found beside this file; nothing else of this folder shall be.
    path = os.pathsep.join(
        part for part in (str(Path(__file__).parent), os.environ.get("PYTHONPATH")) if part
    )
    environment = dict(os.environ, PYTHONPATH=path, **{RESULTS: str(results)})
    for _ in range(MAX_CRASHES):
        before = len(read_results(results))
        with log.open("ab") as out:
            process = subprocess.Popen(
                command,
                env=environment,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            ended_by_us = _wait(process, results)
        seen = read_results(results)
        # 0: all passed, 1: some failed, 5: nothing was left to run. Anything else may have been a crash.
        if process.returncode in (0, 1, 5) and not ended_by_us:
            return seen
        if len(seen) == before:
            raise SystemExit(
                f"pytest ended with status {process.returncode} before any test; its output is {log}"
            )
    raise SystemExit(f"More than {MAX_CRASHES} tests crashed; the output is {log}")


def _wait(process: subprocess.Popen[bytes], results: Path) -> bool:
    """Waits for the end; kills the process group, and says so, when no test begins or ends for SILENCE_S."""
    size, since = -1, time.monotonic()
    while True:
        try:
            process.wait(0.2)
            return False
        except subprocess.TimeoutExpired:
            pass
        now = results.stat().st_size if results.exists() else 0
        if now != size:
            size, since = now, time.monotonic()
        elif time.monotonic() - since > SILENCE_S:
            os.killpg(process.pid, 9)
            process.wait()
            return True


def main() -> int:
    """Runs both sides and compares."""
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suite", type=Path, help="folder of the tests")
    parser.add_argument("--vram", default="4GiB", help="memory of the slice (default: 4GiB)")
    parser.add_argument(
        "--memory", default="16GiB", help="what the daemon may use of the GPU (default: 16GiB)"
    )
    parser.add_argument("--device", choices=["nvidia", "software"], default="nvidia")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every test's result on both sides")
    options = parser.parse_args(sys.argv[1:split])
    if not options.suite.is_dir():
        parser.error(
            f"{options.suite} is not a folder. It must be that of cuda-python's tests, cuda_bindings/tests."
        )
    suite = options.suite.resolve()
    pytest_command = [
        *[sys.executable, "-m", "pytest", "-q", "-p", "cuda_bindings_suite", "-p", "no:cacheprovider"],
        *["--rootdir", str(suite), str(suite), *sys.argv[split + 1 :]],
    ]
    with tempfile.TemporaryDirectory(prefix="tfusion-suite-") as scratch:
        folder = Path(scratch)
        socket = folder / "gpu" / "control.sock"
        tfusion = [sys.executable, "-m", "gpu_server.cli"]
        serve = [
            *tfusion,
            "serve",
            "--device",
            options.device,
            "--memory",
            options.memory,
            "--socket",
            str(socket),
        ]
        daemon_log = folder / "serve.log"
        with daemon_log.open("wb") as log:
            daemon = subprocess.Popen(serve, stdout=log, stderr=log)
        try:
            while "is ready" not in daemon_log.read_text(errors="replace"):
                if daemon.poll() is not None:
                    raise SystemExit("The daemon ended:\n" + daemon_log.read_text(errors="replace")[-2000:])
                time.sleep(0.05)
            logs = Path(tempfile.mkdtemp(prefix="tfusion-suite-logs-"))
            native = run_suite(pytest_command, folder / "native", logs / "native.log")
            run = [*tfusion, "run", "--server", str(socket), "--vram", options.vram, "--", *pytest_command]
            hooked = run_suite(run, folder / "hooked", logs / "hooked.log")
        finally:
            daemon.terminate()
            daemon.wait()
    if options.json:
        options.json.write_text(json.dumps({"native": native, "hooked": hooked}, indent=1) + "\n")
    for side, results in (("natively", native), ("hooked", hooked)):
        counts = collections.Counter(result["outcome"] for result in results.values())
        print(f"{side}: {', '.join(f'{count} {outcome}' for outcome, count in sorted(counts.items()))}")
    worse = [
        (name, hooked.get(name, {"outcome": "not run", "why": ""}))
        for name, result in native.items()
        if result["outcome"] == "passed" and hooked.get(name, {"outcome": ""})["outcome"] != "passed"
    ]
    print(f"{len(worse)} pass natively and not hooked; the logs are in {logs}")
    for name, result in worse:
        print(f"  {name}: {result['outcome']} {result['why']}".rstrip())
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
