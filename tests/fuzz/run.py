"""Builds the decoder's fuzz target and runs it for some seconds: `python tests/fuzz/run.py [--seconds 60]`.

With clang and its libFuzzer the run is guided by coverage; with another compiler it mutates blindly. Exits with 0 if
nothing was found, 1 if something was (the input is named and kept), 2 if it could not be built. The corpus grows in
BUILD/corpus from run to run; an input is replayed with `python tests/fuzz/run.py --replay FILE`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MAX_INPUT_BYTES = 65536
# ASan: Sessions leave what a worker's end would free; the arena of 256 GiB is mapped but never touched.
SANITIZER_OPTIONS = {"ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1", "UBSAN_OPTIONS": "print_stacktrace=1"}
SLACK_S = 120  # for a machine that is busy; libFuzzer ends by itself


def has_libfuzzer(compiler: str) -> bool:
    """Whether `compiler` is a clang that links libFuzzer."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "try.cpp"
        source.write_text(
            "#include <cstddef>\n#include <cstdint>\n"
            'extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t*, std::size_t) '
            "{ return 0; }\n"
        )
        command = [compiler, "-std=c++20", "-fsanitize=fuzzer,address", str(source), "-o", f"{folder}/try"]
        return subprocess.run(command, capture_output=True).returncode == 0


def compiler() -> str:
    """clang++ if it has libFuzzer, else g++; CXX names another."""
    named = os.environ.get("CXX")
    for candidate in [named] if named else ["clang++", "clang++-14", "clang++-16", "clang++-19"]:
        if candidate and shutil.which(candidate) and has_libfuzzer(candidate):
            return candidate
    fallback = named or "g++"
    print(f"No clang with libFuzzer was found; {fallback} builds a target that mutates blindly.", flush=True)
    return fallback


def build(folder: Path, jobs: int) -> Path | None:
    """Configures and builds; gives the target, or None after saying why not."""
    cmake = shutil.which(
        "cmake", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    )
    if cmake is None:
        print("CMake is missing: pip install cmake ninja.", file=sys.stderr)
        return None
    ninja = shutil.which(
        "ninja", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    )
    generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []
    configure = [
        cmake,
        "-S",
        str(HERE),
        "-B",
        str(folder),
        *generator,
        f"-DPython_EXECUTABLE={sys.executable}",
    ]
    if not (folder / "CMakeCache.txt").exists():
        configure.append(f"-DCMAKE_CXX_COMPILER={compiler()}")
    for command in (configure, [cmake, "--build", str(folder), "--parallel", str(jobs)]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            print(done.stdout + done.stderr, file=sys.stderr)
            return None
    return folder / "decoder"


def main() -> int:
    """Entry; the exit status as told above."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "fuzz", help="build folder; kept")
    parser.add_argument("--jobs", type=int, default=2, help="compilers at once")
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    parser.add_argument("--replay", type=Path, help="run this input once")
    options = parser.parse_args()
    target = build(options.build, options.jobs)
    if target is None:
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        driver = options.build.absolute() / "fuzz-libcuda.so"
        environment = {
            **os.environ,
            **SANITIZER_OPTIONS,
            "TFUSION_FUZZ_DRIVER": str(driver),
            "TMPDIR": scratch,
        }
        return run(target, options, environment)


def run(target: Path, options: argparse.Namespace, environment: dict[str, str]) -> int:
    """Runs the target; the exit status as told above."""
    corpus, found = options.build / "corpus", options.build / "found"
    corpus.mkdir(exist_ok=True)
    found.mkdir(exist_ok=True)
    if options.replay:
        return 0 if subprocess.run([target, options.replay], env=environment).returncode == 0 else 1
    if not any(corpus.iterdir()):
        subprocess.run([target], env={**environment, "TFUSION_FUZZ_SEEDS": str(corpus)}, check=True)
    seed = options.seed or int.from_bytes(os.urandom(4), "little") or 1
    command = [
        str(target),
        f"-max_total_time={options.seconds}",
        f"-max_len={MAX_INPUT_BYTES}",
        f"-seed={seed}",
        f"-artifact_prefix={found}{os.sep}",
        str(corpus),
    ]
    done = subprocess.run(command, env=environment, timeout=options.seconds + SLACK_S)
    if done.returncode == 0:
        print(f"Nothing was found (seed {seed}).")
        return 0
    kept = max(found.iterdir(), key=lambda path: path.stat().st_mtime, default=None)
    print(f"The decoder failed (status {done.returncode}, seed {seed}). Its input: {kept}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
