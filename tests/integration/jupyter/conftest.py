"""A real Jupyter server whose vGPU kernels get slices of the software GPU."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gpu_server.client import ControlClient
from jupyter_tfusion.kernelspec import install_kernelspec

sys.path.insert(0, str(Path(__file__).parents[1]))  # pytest's importlib mode leaves it out
from jupyter_server_process import JupyterServer


@pytest.fixture(scope="session")
def server(
    tmp_path_factory: pytest.TempPathFactory, software_daemon: ControlClient, wait_until: Callable[..., Any]
) -> Iterator[JupyterServer]:
    """With the kernels python3-vgpu (256 MiB), large-vgpu (700 MiB) and lost-vgpu (no daemon)."""
    folder = tmp_path_factory.mktemp("jupyter")
    prefix, socket = folder / "prefix", str(software_daemon.socket)
    install_kernelspec(prefix=str(prefix), server=socket, vram="256MiB")
    install_kernelspec(prefix=str(prefix), server=socket, vram="700MiB", name="large-vgpu")
    install_kernelspec(prefix=str(prefix), server=str(folder / "nobody.sock"), name="lost-vgpu")
    jupyter = JupyterServer(folder, prefix, wait_until, JUPYTER_NO_CONFIG="1")
    yield jupyter
    jupyter.stop()
    assert software_daemon.list_slices() == [], "a Jupyter server that ends closes the slices of its kernels"


@pytest.fixture
def kernels(server: JupyterServer) -> Iterator[JupyterServer]:
    """The server; kernels and sessions that a test started are gone when the next begins."""
    yield server
    for session in server.request("GET", "api/sessions")[1]:
        server.request("DELETE", f"api/sessions/{session['id']}")
    for kernel in server.request("GET", "api/kernels")[1]:
        server.request("DELETE", f"api/kernels/{kernel['id']}")
