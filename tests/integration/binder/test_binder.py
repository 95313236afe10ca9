"""The files of binder/: each by itself, and with TFUSION_BINDER=1 all of them in a fresh environment, as repo2docker
would do it. That takes minutes, since it compiles everything."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[3]
BINDER = ROOT / "binder"
MINUTE_S = 60


@pytest.mark.parametrize("script", ["postBuild", "start"])
def test_the_scripts_can_be_run(script: str) -> None:
    assert os.access(BINDER / script, os.X_OK)
    subprocess.run(["bash", "-n", str(BINDER / script)], check=True)


def test_the_python_is_one_that_the_package_takes() -> None:
    name, _, version = (BINDER / "runtime.txt").read_text().strip().partition("-")
    assert name == "python"
    assert tuple(map(int, version.split("."))) >= (3, 10)


def test_requirements_are_ranges_that_pip_can_read() -> None:
    for line in (BINDER / "requirements.txt").read_text().splitlines():
        assert Requirement(line).specifier


def test_start_says_what_is_wrong_and_runs_the_command_in_its_place(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "XDG_RUNTIME_DIR": str(tmp_path),
    }
    command = [
        sys.executable,
        "-c",
        "import os, sys; print(os.getpid(), sys.argv[1:]); sys.exit(7)",
        "a b",
        "*",
    ]
    started = subprocess.Popen(
        [str(BINDER / "start"), *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    output, log = started.communicate(timeout=2 * MINUTE_S)
    assert output == f"{started.pid} ['a b', '*']\n"  # nothing stands between the container and the server
    assert started.returncode == 7
    assert "Jupyter kernels" in log


@pytest.mark.skipif(
    os.environ.get("TFUSION_BINDER") != "1", reason="takes minutes; set TFUSION_BINDER=1 to run it"
)
@pytest.mark.timeout(45 * MINUTE_S)
def test_in_a_fresh_environment_the_kernels_are_there_and_a_lab_runs(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    # As it is here, without what was built in it.
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split(
        "\0"
    ):
        if name and (ROOT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, checkout / name)
    venv.create(tmp_path / "venv", with_pip=True)
    bin_folder = tmp_path / "venv" / "bin"
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("TFUSION_", "JUPYTER_", "PYTHON"))
    }
    environment |= {"PATH": f"{bin_folder}:{os.environ['PATH']}", "XDG_RUNTIME_DIR": str(tmp_path)}
    for name in ("HOME", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        environment[name] = str(tmp_path / name.lower())
        Path(environment[name]).mkdir()

    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=40 * MINUTE_S
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        return done.stdout

    run("pip", "install", "--quiet", "-r", "binder/requirements.txt")
    run("pip", "install", "--quiet", ".")
    kernels = run("jupyter", "kernelspec", "list")
    assert "python3-vgpu" in kernels, "a plain installation brings a kernel"
    run("binder/postBuild")
    kernels = run("jupyter", "kernelspec", "list")
    assert all(f"python3-vgpu{size}" in kernels for size in ("", "-small", "-large"))
    lab = "examples/01-first-kernel-saxpy.ipynb"
    run("binder/start", "jupyter", "execute", "--inplace", lab)  # with the kernel that the sheet names
    executed = nbformat.read(checkout / lab, as_version=4)
    assert "checks out" in "".join(output.get("text", "") for output in executed.cells[-1].outputs)
