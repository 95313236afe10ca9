"""`make bench`: what a driver call costs on the client, the ring's throughput, and a round trip's time.

Starts a daemon whose workers replay on the null driver (a libcuda.so.1 that does nothing), so the figures are the
hook's, the ring's and the replay core's alone. Prints medians and spread and, with --record, adds them with machine and
date to docs/measurements.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MEASUREMENTS = ROOT / "docs" / "measurements.md"

# Name in ring_bench's output, title, unit, target as a sentence.
FIGURES = (
    ("launch_ns", "asynchronous launch with 8 parameters, client side", "ns", "at most 300 ns"),
    (
        "calls_per_s",
        "asynchronous launches through the ring, one client thread",
        "calls/s",
        "at least 2 million",
    ),
    ("round_trip_us", "synchronising call, round trip", "us", ""),
)


def machine() -> str:
    """The processor's name and core count."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return f"{model}, {os.cpu_count()} cores"


def build(folder: Path) -> None:
    """Configures and builds the benchmark programs into `folder`; quick when nothing changed."""
    environment = dict(
        os.environ, PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    )
    configure = ["cmake", "-S", str(ROOT), "-B", str(folder), "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release"]
    configure.append(f"-DPython_EXECUTABLE={sys.executable}")
    subprocess.run(configure, check=True, stdout=subprocess.DEVNULL, env=environment)
    make = ["cmake", "--build", str(folder), "--target", "null_driver", "ring_bench"]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL, env=environment)


def measure(folder: Path, repeats: int) -> dict[str, list[float]]:
    """Runs ring_bench under a slice of a daemon of its own; every repeat's figures by name."""
    with tempfile.TemporaryDirectory(prefix="tfusion-bench-") as scratch:
        socket = str(Path(scratch) / "control.sock")
        environment = dict(
            os.environ, TFUSION_SOFTWARE_GPU_LIB=str(folder / "benchmarks" / "null" / "libcuda.so.1")
        )
        tfusion = [sys.executable, "-m", "gpu_server.cli"]
        serve = [*tfusion, "serve", "--device", "software", "--memory", "8GiB", "--socket", socket]
        daemon = subprocess.Popen(serve, env=environment, stderr=subprocess.PIPE, text=True)
        try:
            assert daemon.stderr is not None
            said = []
            for line in daemon.stderr:
                said.append(line)
                if "is ready" in line:
                    break
            else:
                raise SystemExit("The daemon ended before a worker was ready:\n" + "".join(said[-5:]))
            program = [str(folder / "benchmarks" / "ring_bench"), str(repeats)]
            run = [*tfusion, "run", "--server", socket, "--vram", "1GiB", "--", *program]
            result = subprocess.run(run, check=True, stdout=subprocess.PIPE, text=True)
        finally:
            daemon.terminate()
            daemon.communicate()
    figures: dict[str, list[float]] = json.loads(result.stdout)
    return figures


def table(figures: dict[str, list[float]]) -> str:
    """A Markdown table: median, minimum and maximum of each figure, and its target."""
    lines = ["| what | median | min | max | target |", "|---|---|---|---|---|"]
    for name, title, unit, target in FIGURES:
        values = figures[name]
        cells = (
            f"{v:,.0f} {unit}" if v >= 100 else f"{v:.2f} {unit}"
            for v in (statistics.median(values), min(values), max(values))
        )
        lines.append(f"| {title} | {' | '.join(cells)} | {target} |")
    return "\n".join(lines)


def main() -> int:
    """Builds, measures, prints; 0 unless something failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "bench")
    parser.add_argument("--record", action="store_true", help="add the figures to docs/measurements.md")
    options = parser.parse_args()
    build(options.build)
    figures = measure(options.build, options.repeats)
    text = table(figures)
    print(text)
    if options.record:
        today = datetime.date.today().isoformat()
        with MEASUREMENTS.open("a", encoding="utf-8") as file:
            file.write(
                f"\n## The ring, {today}\n\n{machine()}; `make bench`, {options.repeats} repeats.\n\n{text}\n"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
