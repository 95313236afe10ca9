"""What `pip install` puts on a machine: the compiled parts, the generated code and the entry points, and no sources."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import distribution, entry_points
from pathlib import Path, PurePosixPath

import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from gpu_server.client import ControlClient
from jupyter_tfusion.kernelspec import LOGOS


@pytest.fixture(scope="module")
def files() -> list[PurePosixPath]:
    return [PurePosixPath(str(file)) for file in distribution("jupyter-tfusion").files or []]


@pytest.mark.parametrize(
    "path",
    [
        "kernel_hook/lib/libcuda.so.1",
        "kernel_hook/lib/libnvidia-ml.so.1",
        "kernel_hook/bin/nvidia-smi",
        "gpu_server/software/lib/libcuda.so.1",
        "gpu_server/proto/control_pb2.py",
        "gpu_server/proto/control_pb2_grpc.py",
        "jupyter_tfusion/provisioner.py",
        "jupyter_tfusion/kernel_resources/logo-svg.svg",
        "jupyter_tfusion/kernel_resources/logo-32x32.png",
        "jupyter_tfusion/kernel_resources/logo-64x64.png",
        "jupyter_tfusion/event_schemas/slices.yaml",
        "jupyter_tfusion/event_schemas/notices.yaml",
    ],
)
def test_the_package_holds(files: list[PurePosixPath], path: str) -> None:
    assert PurePosixPath(path) in files


def test_a_kernel_is_there_without_any_further_step(
    software_daemon: ControlClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `pip install` Jupyter offers a vGPU kernel and it starts, on whatever GPU there is."""
    for name in ("JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("TFUSION_SERVER", str(software_daemon.socket))
    monkeypatch.delenv("JUPYTER_PATH", raising=False)
    specs = KernelSpecManager()
    folder = Path(sys.prefix, "share/jupyter/kernels/python3-vgpu")
    assert specs.find_kernel_specs()["python3-vgpu"] == str(folder)
    assert specs.get_kernel_spec("python3-vgpu").display_name == "Python 3 (vGPU)"
    assert {file.name for file in folder.iterdir()} == {"kernel.json", *LOGOS}
    base, spec = specs.get_kernel_spec("python3"), specs.get_kernel_spec("python3-vgpu")
    assert spec.argv[1:] == base.argv[1:]
    assert {**spec.metadata, "kernel_provisioner": None} == {**base.metadata, "kernel_provisioner": None}
    manager = KernelManager(kernel_name="python3-vgpu", kernel_spec_manager=specs)
    manager.start_kernel()
    try:
        (opened,) = [row for row in software_daemon.list_slices() if row.kernel_id == manager.kernel_id]
        assert opened.vram_bytes == 128 << 20  # the daemon's choice for 768 MiB
    finally:
        manager.shutdown_kernel(now=True)


def test_nvidia_smi_can_be_started() -> None:
    program = Path(str(distribution("jupyter-tfusion").locate_file("kernel_hook/bin/nvidia-smi")))
    assert os.access(program, os.X_OK)


def test_the_package_holds_the_replay_core(files: list[PurePosixPath]) -> None:
    assert [file for file in files if file.match("gpu_server/_replay*.so")]


def test_the_package_holds_no_sources_of_what_is_compiled(files: list[PurePosixPath]) -> None:
    assert [file for file in files if file.suffix in (".cpp", ".hpp", ".h", ".proto", ".a", ".cmake")] == []
    assert [file for file in files if file.name == "CMakeLists.txt"] == []


def test_the_packages_that_are_tested_are_the_installed_ones(files: list[PurePosixPath]) -> None:
    """A test run that imported the source tree would miss everything that is compiled or generated."""
    import gpu_server
    import jupyter_tfusion
    import kernel_hook

    root = Path(str(distribution("jupyter-tfusion").locate_file(""))).resolve()
    for package in (gpu_server, jupyter_tfusion, kernel_hook):
        assert Path(package.__file__ or "").resolve().is_relative_to(root)


@pytest.mark.parametrize("library", ["kernel_hook/lib/libcuda.so.1", "gpu_server/software/lib/libcuda.so.1"])
@pytest.mark.skipif(shutil.which("readelf") is None, reason="needs readelf of binutils")
def test_the_libraries_are_named_as_the_driver_is_and_need_only_the_c_library(library: str) -> None:
    path = Path(str(distribution("jupyter-tfusion").locate_file(library)))
    dynamic = subprocess.run(["readelf", "-d", str(path)], capture_output=True, text=True, check=True).stdout
    assert "Library soname: [libcuda.so.1]" in dynamic
    needed = {line.split("[")[1].rstrip("]") for line in dynamic.splitlines() if "(NEEDED)" in line}
    allowed = {
        "libc.so.6",
        "libm.so.6",
        "libdl.so.2",
        "libpthread.so.0",
        "librt.so.1",
        "ld-linux-x86-64.so.2",
    }
    assert needed <= allowed, "a learner's machine need not have what the build machine has"


def test_jupyter_servers_load_the_extension_without_being_told_to() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "jupyter_server.extension.serverextension", "list"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )
    shown = re.sub("\x1b\\[[0-9;]*m", "", listed.stdout + listed.stderr)  # NO_COLOR or not
    line = next(line for line in shown.splitlines() if "jupyter_tfusion" in line)
    assert "enabled" in line
    assert f"jupyter_tfusion {distribution('jupyter-tfusion').version} OK" in " ".join(shown.split())


def test_jupyterlab_has_the_panel_ready_built_and_enabled() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "jupyterlab.labextensions", "list"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "NO_COLOR": "1"},
    )
    shown = listed.stdout + listed.stderr
    line = next(line for line in shown.splitlines() if "@jupyter-tfusion/labextension" in line)
    assert f"v{distribution('jupyter-tfusion').version}" in line, (
        "package.json has the version of pyproject.toml"
    )
    assert "enabled" in line
    assert "OK" in line


def test_jupyter_finds_the_provisioner() -> None:
    (entry,) = entry_points(group="jupyter_client.kernel_provisioners", name="tfusion-provisioner")
    from jupyter_tfusion.provisioner import TFusionProvisioner

    assert entry.load() is TFusionProvisioner


def test_the_program_tfusion_knows_the_kernelspec_command() -> None:
    tfusion = Path(sys.executable).with_name("tfusion")
    done = subprocess.run([str(tfusion), "kernelspec", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "install" in done.stdout
