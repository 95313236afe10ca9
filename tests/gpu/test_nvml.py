"""NVML, PyTorch's questions to it and `nvidia-smi` (NVIDIA's own if it gets along, else ours) on a real GPU's slice."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

pytest.importorskip("torch")

ASK = """
import json, os, subprocess, pynvml, torch
x = torch.ones(1 << 30, dtype=torch.uint8, device="cuda")
a = torch.randn(4096, 4096, device="cuda")
busy = 0
while busy < 90:
    for _ in range(50):
        b = a @ a
    busy = torch.cuda.utilization()
torch.cuda.synchronize()
while torch.cuda.utilization() > 0:
    pass
def smi(*arguments):
    done = subprocess.run(["nvidia-smi", *arguments], capture_output=True, text=True)
    return [done.returncode, done.stdout, done.stderr]
try:
    power = torch.cuda.power_draw()
except pynvml.NVMLError_NotSupported:
    power = None
pynvml.nvmlInit()
gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
print(json.dumps({
    "pid": os.getpid(), "uuid": pynvml.nvmlDeviceGetUUID(gpu), "used": torch.cuda.device_memory_used(),
    "processes": torch.cuda.list_gpu_processes(), "power": power, "name": torch.cuda.get_device_name(),
    "capability": [list(torch.cuda.get_device_capability()), list(pynvml.nvmlDeviceGetCudaComputeCapability(gpu))],
    "table": smi(), "list": smi("-L"),
    "query": smi("--query-gpu=memory.total,memory.used,utilization.gpu,power.draw", "--format=csv,noheader,nounits"),
    "apps": smi("--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"),
}))
"""


def test_the_slice_is_what_nvml_and_nvidia_smi_show(host: Any) -> None:
    done = host.hooked("4GiB", sys.executable, "-c", ASK)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["used"] >= 1 << 30
    assert str(said["pid"]) in said["processes"]
    assert said["power"] is None
    assert said["capability"][0] == said["capability"][1]
    for status, _, complaint in (said["table"], said["list"], said["query"], said["apps"]):
        assert status == 0, complaint
    assert said["list"][1].count("UUID") == 1
    assert said["uuid"] in said["list"][1]
    assert str(said["pid"]) in said["table"][1]
    total, used, busy, power = said["query"][1].strip().split(", ")
    assert (total, power) == ("4096", "[N/A]")
    assert 1024 <= int(used) <= 4096
    assert busy == "0"
    pid, held = said["apps"][1].strip().split(", ")
    assert (pid, held) == (str(said["pid"]), used)
