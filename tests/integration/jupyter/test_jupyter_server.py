"""vGPU kernels in a real Jupyter server: what its REST interface, and so JupyterLab, shows of slices."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from websocket import create_connection

from gpu_server.client import ControlClient

pytestmark = pytest.mark.xdist_group("jupyter-server")


@pytest.fixture
def daemon(software_daemon: ControlClient) -> ControlClient:
    return software_daemon


FULL = "This kernel got no GPU slice. All GPU memory is in use"


def slice_of(daemon: ControlClient, kernel_id: str) -> Any:
    (found,) = [row for row in daemon.list_slices() if row.kernel_id == kernel_id]
    return found


def start_session(server: Any, kernel: str = "python3-vgpu", path: str = "lab.ipynb") -> tuple[int, Any]:
    body = {"path": path, "name": path, "type": "notebook", "kernel": {"name": kernel}}
    return server.request("POST", "api/sessions", body)


def execute(server: Any, kernel_id: str, code: str) -> str:
    """What the code prints in the kernel, through the server's WebSocket as JupyterLab does it."""
    url = server.url.replace("http", "ws", 1) + f"api/kernels/{kernel_id}/channels?token={server.token}"
    header = {"msg_id": uuid.uuid4().hex, "session": uuid.uuid4().hex, "username": "", "version": "5.3"}
    content = {
        "code": code,
        "silent": False,
        "store_history": False,
        "allow_stdin": False,
        "stop_on_error": True,
    }
    message = {
        "channel": "shell",
        "header": {**header, "msg_type": "execute_request"},
        "parent_header": {},
        "metadata": {},
        "content": content,
    }
    socket = create_connection(url, timeout=60)
    try:
        socket.send(json.dumps(message))
        printed = ""
        while True:
            reply = json.loads(socket.recv())
            if reply["parent_header"].get("msg_id") != header["msg_id"]:
                continue
            if reply["msg_type"] == "stream":
                printed += reply["content"]["text"]
            elif reply["msg_type"] == "error":
                pytest.fail("\n".join(reply["content"]["traceback"]))
            elif reply["msg_type"] == "status" and reply["content"]["execution_state"] == "idle":
                return printed
    finally:
        socket.close()


def test_a_cell_can_call_nvidia_smi(kernels) -> None:
    _, session = start_session(kernels)
    kernel_id = session["kernel"]["id"]
    query = "!nvidia-smi --query-gpu=memory.total,count --format=csv,noheader"
    assert execute(kernels, kernel_id, query).strip() == "256 MiB, 1"
    assert "No running processes found" in execute(kernels, kernel_id, "!nvidia-smi")


def test_the_kernel_is_offered(kernels) -> None:
    status, specs = kernels.request("GET", "api/kernelspecs")
    assert status == 200
    spec = specs["kernelspecs"]["python3-vgpu"]
    assert spec["spec"]["display_name"] == "Python 3 (vGPU 256 MiB)"
    assert "logo-svg" in spec["resources"]


def test_a_notebook_session_opens_a_slice_and_ends_with_it(kernels, daemon) -> None:
    status, session = start_session(kernels)
    assert status == 201
    kernel_id = session["kernel"]["id"]
    assert slice_of(daemon, kernel_id).vram_bytes == 256 * 2**20
    assert slice_of(daemon, kernel_id).name == "lab.ipynb"
    status, _ = kernels.request("DELETE", f"api/sessions/{session['id']}")
    assert status == 204
    assert daemon.list_slices() == []


def test_a_full_gpu_reads_as_a_sentence_when_a_notebook_is_opened(kernels, daemon) -> None:
    assert start_session(kernels, path="first.ipynb")[0] == 201
    status, error = start_session(kernels, kernel="large-vgpu", path="second.ipynb")
    assert status >= 500
    assert error["message"].startswith(FULL)
    assert '"first.ipynb"' in error["message"], "it says who uses the GPU"
    assert len(daemon.list_slices()) == 1


def test_a_full_gpu_reads_as_a_sentence_when_a_kernel_is_started(kernels, daemon) -> None:
    assert start_session(kernels)[0] == 201
    status, error = kernels.request("POST", "api/kernels", {"name": "large-vgpu"})
    assert status == 503
    assert error["message"].startswith(FULL)
    assert len(daemon.list_slices()) == 1


def test_a_full_gpu_reads_as_a_sentence_when_the_kernel_of_a_notebook_is_changed(kernels, daemon) -> None:
    assert start_session(kernels, path="other.ipynb")[0] == 201
    _, session = start_session(kernels, kernel="python3")
    status, error = kernels.request(
        "PATCH", f"api/sessions/{session['id']}", {"kernel": {"name": "large-vgpu"}}
    )
    assert status >= 500
    assert FULL in error["message"]
    assert len(daemon.list_slices()) == 1


def test_an_unreachable_daemon_reads_as_a_sentence(kernels) -> None:
    status, error = kernels.request("POST", "api/kernels", {"name": "lost-vgpu"})
    assert status == 503
    assert "does not answer" in error["message"]
    assert "tfusion serve" in error["message"]


def test_a_failed_start_does_not_stay_in_the_list_of_kernels(kernels) -> None:
    assert kernels.request("POST", "api/kernels", {"name": "lost-vgpu"})[0] == 503
    assert kernels.request("GET", "api/kernels") == (200, [])


def test_a_restarted_kernel_keeps_its_slice(kernels, daemon) -> None:
    _, session = start_session(kernels)
    kernel_id = session["kernel"]["id"]
    before = slice_of(daemon, kernel_id).slice_id
    status, _ = kernels.request("POST", f"api/kernels/{kernel_id}/restart")
    assert status == 200
    assert slice_of(daemon, kernel_id).slice_id == before
    assert execute(kernels, kernel_id, "import os; print(os.environ['TFUSION_SLICE'])").strip() == before


def test_the_kernel_sees_one_gpu_of_its_size(kernels) -> None:
    _, session = start_session(kernels)
    code = """if True:
        from cuda.bindings import driver
        assert driver.cuInit(0)[0] == 0
        print(driver.cuDeviceGetCount()[1], driver.cuDeviceTotalMem(0)[1])
    """
    count, total = execute(kernels, session["kernel"]["id"], code).split()
    assert int(count) == 1
    assert int(total) == 256 * 2**20


def test_memory_that_a_kernel_used_is_free_again_after_its_restart(kernels, daemon) -> None:
    _, session = start_session(kernels)
    kernel_id = session["kernel"]["id"]
    code = """if True:
        from cuda.core import Device
        device = Device()
        device.set_current()
        stream = device.create_stream()
        buffer = device.allocate(200 * 2**20, stream=stream)
        buffer.fill(1, stream=stream)
        stream.sync()
        print("filled")
    """
    assert execute(kernels, kernel_id, code).strip() == "filled"
    assert slice_of(daemon, kernel_id).used_bytes >= 200 * 2**20
    assert kernels.request("POST", f"api/kernels/{kernel_id}/restart")[0] == 200
    # 200 of 256 MiB: it fits a second time only if the first is gone.
    assert execute(kernels, kernel_id, code).strip() == "filled"
