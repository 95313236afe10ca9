"""%vgpu and %%vgpu_time in real kernels under slices of the software GPU, and in one without a slice."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from gpu_server.client import ControlClient
from jupyter_tfusion.kernelspec import install_kernelspec

MIB = 1 << 20
TIMEOUT_S = 120

# A kernel that takes a while: one thread adds and adds.
TOOLS = r'''
import ctypes, threading, time
cuda = ctypes.CDLL("libcuda.so.1")
def check(result):
    assert result == 0, result
check(cuda.cuInit(0))
context = ctypes.c_void_p()
check(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0))
check(cuda.cuCtxSetCurrent(context))
PTX = b"""
.version 7.0
.target sm_75
.address_size 64
.visible .entry spin(.param .u64 out, .param .u32 rounds) {
  .reg .u64 %rd<3>; .reg .u32 %r<4>; .reg .pred %p;
  ld.param.u64 %rd1, [out];
  ld.param.u32 %r1, [rounds];
  mov.u32 %r2, 0;
again:
  add.u32 %r2, %r2, 1;
  setp.lt.u32 %p, %r2, %r1;
  @%p bra again;
  st.global.u32 [%rd1], %r2;
  ret;
}
"""
module, spin = ctypes.c_void_p(), ctypes.c_void_p()
check(cuda.cuModuleLoadData(ctypes.byref(module), PTX))
check(cuda.cuModuleGetFunction(ctypes.byref(spin), module, b"spin"))
def allocate(mib):
    pointer = ctypes.c_uint64()
    check(cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(mib << 20)))
    return pointer
def free(pointer):
    check(cuda.cuMemFree_v2(pointer))
out = allocate(2)
def launch(rounds):
    arguments = (ctypes.c_void_p * 2)(
        ctypes.addressof(out), ctypes.addressof(number := ctypes.c_uint32(rounds)))
    check(cuda.cuLaunchKernel(spin, 1, 1, 1, 1, 1, 1, 0, None, arguments, None))
def seconds(rounds):
    start = time.perf_counter()
    launch(rounds)
    check(cuda.cuCtxSynchronize())
    return time.perf_counter() - start
rounds = 100_000
while seconds(rounds) < 0.1:
    rounds *= 2
'''


class Notebook:
    """A kernel and what its cells say."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager = manager
        self.client = client

    def run(self, code: str) -> dict[str, Any]:
        """Text by stream name, and a list of the data of what was shown or returned ("shown"); an error's lines."""
        outputs: dict[str, Any] = {"stdout": "", "stderr": "", "shown": [], "error": ""}

        def note(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "stream":
                outputs[content["name"]] += content["text"]
            elif message["msg_type"] in ("display_data", "execute_result"):
                outputs["shown"].append(content["data"])
            elif message["msg_type"] == "error":
                outputs["error"] = f"{content['ename']}: {content['evalue']}"

        self.client.execute_interactive(code, timeout=TIMEOUT_S, output_hook=note)
        return outputs

    def measure(self, code: str) -> dict[str, str]:
        """The rows of %%vgpu_time."""
        said = self.run("%%vgpu_time\n" + code)
        assert said["error"] == "", said
        (data, *_) = said["shown"]
        return dict(re.findall(r"^(.+?): +(.*)$", data["text/plain"], re.MULTILINE))


StartNotebook = Callable[..., Notebook]


@pytest.fixture
def start_notebook(
    tmp_path: Path, software_daemon: ControlClient, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StartNotebook]:
    for name in ("JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    install_kernelspec(prefix=str(tmp_path), server=str(software_daemon.socket), vram="128MiB")
    own = KernelSpecManager(kernel_dirs=[str(tmp_path / "share/jupyter/kernels")])
    started: list[Notebook] = []

    def start(kernel: str = "python3-vgpu") -> Notebook:
        manager = KernelManager(kernel_name=kernel, kernel_spec_manager=own)
        manager.start_kernel(cwd=str(tmp_path))
        client = manager.client()
        client.start_channels()
        started.append(Notebook(manager, client))
        client.wait_for_ready(timeout=TIMEOUT_S)
        assert started[-1].run("%load_ext jupyter_tfusion")["error"] == ""
        return started[-1]

    yield start
    for notebook in started:
        notebook.client.stop_channels()
        notebook.manager.shutdown_kernel(now=True)


@pytest.fixture
def notebook(start_notebook: StartNotebook) -> Notebook:
    started = start_notebook()
    assert started.run(TOOLS)["error"] == ""
    return started


def shown(notebook: Notebook) -> dict[str, Any]:
    said = notebook.run("%vgpu")
    assert (said["error"], said["stderr"]) == ("", "")
    (data,) = said["shown"]
    return data


def nanoseconds(text: str) -> float:
    """Of "1.25 s" or "31 ms" at the beginning of the text."""
    number, unit = re.match(r"([0-9.]+) (ms|s)", text).groups()
    return float(number) * {"ms": 1e6, "s": 1e9}[unit]


def test_a_kernel_that_has_not_used_the_gpu_sees_its_slice(start_notebook: StartNotebook) -> None:
    data = shown(start_notebook())
    assert "0 bytes of 128 MiB in use" in data["text/plain"]
    assert "no program uses the GPU" in data["text/plain"]
    assert "Software GPU" in data["text/plain"]
    assert 'aria-valuemax="134217728"' in data["text/html"]


def test_the_slice_shows_memory_and_processes(notebook: Notebook) -> None:
    notebook.run("big = allocate(40)")
    data = shown(notebook)
    assert "42 MiB of 128 MiB in use: 42 MiB on the GPU" in data["text/plain"]
    pid = notebook.run("import os; print(os.getpid())")["stdout"].strip()
    assert re.search(rf"Process: {pid} .* 42 MiB  idle", data["text/plain"])
    assert pid in data["text/html"]
    assert 'aria-valuenow="44040192"' in data["text/html"]


def test_the_time_of_a_cell_is_what_its_kernels_took_also_if_it_does_not_wait(notebook: Notebook) -> None:
    measured = notebook.measure("launch(rounds)")
    assert nanoseconds(measured["GPU time"]) > 20e6
    assert nanoseconds(notebook.measure("pass")["GPU time"]) < 20e6  # it was all charged to the first


def test_what_an_earlier_cell_left_to_the_gpu_is_not_counted(notebook: Notebook) -> None:
    said = notebook.run("launch(4 * rounds)")
    assert said["error"] == ""
    assert nanoseconds(notebook.measure("pass")["GPU time"]) < 20e6


def test_a_thread_that_never_stops_working_holds_no_cell_up(notebook: Notebook) -> None:
    started = notebook.run(
        "def work():\n"
        "    check(cuda.cuCtxSetCurrent(context))\n"
        "    while going:\n"
        "        launch(rounds // 10)\n"
        "        check(cuda.cuCtxSynchronize())\n"
        "going = True\n"
        "thread = threading.Thread(target=work)\n"
        "thread.start()"
    )
    assert started["error"] == ""
    said = notebook.run("%%vgpu_time\n6 * 7")
    assert said["shown"][-1]["text/plain"] == "42"
    assert "Another thread of this notebook uses the GPU too" in said["stderr"]
    assert notebook.run("going = False\nthread.join()")["error"] == ""


def test_the_peak_is_the_cells_own_although_it_frees_what_it_took(notebook: Notebook) -> None:
    notebook.run("kept = allocate(10)")
    first = notebook.measure("one = allocate(60); free(one)")
    assert first["Memory"] == "72 MiB at the most, 60 MiB more than before the cell"
    second = notebook.measure("one = allocate(20); free(one)")
    assert second["Memory"] == "32 MiB at the most, 20 MiB more than before the cell"
    assert second["Swapped"] == "0 bytes out, 0 bytes in"


def test_processes_that_the_cell_starts_count(notebook: Notebook) -> None:
    code = """
import subprocess, sys
script = '''
import ctypes
cuda = ctypes.CDLL("libcuda.so.1")
context, pointer = ctypes.c_void_p(), ctypes.c_uint64()
assert cuda.cuInit(0) == 0
assert cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
assert cuda.cuCtxSetCurrent(context) == 0
assert cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(30 << 20)) == 0
'''
subprocess.run([sys.executable, "-c", script], check=True)
"""
    measured = notebook.measure(code)
    assert measured["Memory"] == "32 MiB at the most, 30 MiB more than before the cell"


def test_a_measured_cell_is_a_cell_as_any_other(notebook: Notebook) -> None:
    said = notebook.run("%%vgpu_time\nx = 6\ny = 7\nx * y")
    assert said["shown"][-1]["text/plain"] == "42"
    assert notebook.run("print(x, y)")["stdout"] == "6 7\n"
    assert len(notebook.run("%%vgpu_time\nx * y;")["shown"]) == 1
    assert len(notebook.run("%%vgpu_time\n%matplotlib --list\n!true")["shown"]) == 1
    failed = notebook.run("%%vgpu_time\nz = allocate(4)\n1 / 0")
    assert failed["error"] == "ZeroDivisionError: division by zero"
    assert "4 MiB more" in failed["shown"][0]["text/plain"]  # it is measured all the same
    waits = notebook.run("%%vgpu_time\nimport asyncio\nawait asyncio.sleep(0)")
    assert "cannot measure a cell with 'await'" in waits["stderr"] + waits["error"]


def test_errors_of_the_gpu_stay_where_they_would_be_told_without_a_measurement(notebook: Notebook) -> None:
    """The wait at the cell's end is no CUDA call: it takes no deferred error away from the program."""
    late = "check(cuda.cuMemsetD8_v2(out, 1, ctypes.c_size_t(16 << 20)))"  # reaches past its block
    assert notebook.run("%%vgpu_time\n" + late)["error"] == ""
    assert notebook.run("print(cuda.cuCtxSynchronize())")["stdout"] == "1\n"  # CUDA_ERROR_INVALID_VALUE
    assert notebook.run("print(cuda.cuCtxSynchronize())")["stdout"] == "0\n"


def test_without_a_slice_both_say_what_to_do_and_cells_run_on(start_notebook: StartNotebook) -> None:
    plain = start_notebook("python3")
    said = plain.run("%vgpu")
    assert (said["error"], said["shown"]) == ("", [])
    assert "Choose a vGPU kernel" in said["stderr"]
    said = plain.run("%%vgpu_time\n6 * 7")
    assert [data["text/plain"] for data in said["shown"]] == ["42"]
    assert "This cell is not measured. This Python does not run under a GPU slice" in said["stderr"]


def test_a_slice_that_has_ended_is_told_in_words(
    start_notebook: StartNotebook, software_daemon: ControlClient
) -> None:
    notebook = start_notebook()
    token = notebook.run("import os; print(os.environ['TFUSION_SLICE'], os.environ['TFUSION_TOKEN'])")
    software_daemon.close_slice(*token["stdout"].split())
    assert "Restart the kernel to get a new one" in notebook.run("%vgpu")["stderr"]
    assert "not measured" in notebook.run("%%vgpu_time\npass")["stderr"]


def test_arguments_that_mean_nothing_are_refused(start_notebook: StartNotebook) -> None:
    notebook = start_notebook()
    assert "%vgpu takes no arguments" in notebook.run("%vgpu -q")["stderr"]
    assert "%%vgpu_time takes no arguments" in notebook.run("%%vgpu_time 3\npass")["stderr"]
