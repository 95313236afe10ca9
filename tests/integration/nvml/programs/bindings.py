"""pynvml in a process with a session and in one without, and nvitop."""

import json
import os
import subprocess
import sys

import pynvml
from guest import allocate, answer, start


def by_pynvml() -> dict[str, object]:
    pynvml.nvmlInit()
    gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
    memory = pynvml.nvmlDeviceGetMemoryInfo(gpu)
    newer = pynvml.nvmlDeviceGetMemoryInfo(gpu, pynvml.nvmlMemory_v2)
    processes = pynvml.nvmlDeviceGetComputeRunningProcesses(gpu)
    samples = pynvml.nvmlDeviceGetProcessUtilization(gpu, 0)
    information = pynvml.nvmlDeviceGetProcessesUtilizationInfo(gpu, 0)
    details = pynvml.nvmlDeviceGetRunningProcessDetailList(
        gpu, pynvml.nvmlProcessDetailList_v1, pynvml.NVML_PROCESS_MODE_COMPUTE
    )
    rates = pynvml.nvmlDeviceGetUtilizationRates(gpu)
    fields = pynvml.nvmlDeviceGetFieldValues(gpu, [pynvml.NVML_FI_DEV_MEMORY_TEMP])
    try:
        pynvml.nvmlDeviceGetPowerUsage(gpu)
        power = "told"
    except pynvml.NVMLError_NotSupported:
        power = "not supported"
    return {
        "count": pynvml.nvmlDeviceGetCount(),
        "name": pynvml.nvmlDeviceGetName(gpu),
        "memory": [memory.total, memory.used, newer.total, newer.used],
        "processes": [[p.pid, p.usedGpuMemory] for p in processes],
        "older": [[p.pid, p.usedGpuMemory] for p in pynvml.nvmlDeviceGetComputeRunningProcesses_v2(gpu)],
        "details": [[p.pid, p.usedGpuMemory] for p in details],
        "samples": [s.pid for s in samples] + [s.pid for s in information],
        "percent": [0 <= s.smUtil <= 100 for s in samples] + [0 <= rates.gpu <= 100],
        "names": [pynvml.nvmlSystemGetProcessName(p.pid) for p in processes],
        "graphics": pynvml.nvmlDeviceGetGraphicsRunningProcesses(gpu),
        "capability": pynvml.nvmlDeviceGetCudaComputeCapability(gpu),
        "architecture": pynvml.nvmlDeviceGetArchitecture(gpu) == pynvml.NVML_DEVICE_ARCH_TURING,
        "fields": [f.nvmlReturn for f in fields],
        "power": power,
    }


def by_nvitop() -> dict[str, object]:
    import nvitop

    (device,) = nvitop.Device.all()
    snapshot = device.as_snapshot()
    return {
        "used": snapshot.memory_used,
        "total": snapshot.memory_total,
        "processes": {p.pid: p.gpu_memory() for p in device.processes().values()},
        "power": device.power_usage() == nvitop.NA,
        "temperature": device.temperature() == nvitop.NA,
    }


if sys.argv[1:]:
    answer(by_pynvml() if sys.argv[1] == "pynvml" else by_nvitop())
else:
    start()
    allocate(64)

    def ask_child(which: str) -> object:
        done = subprocess.run([sys.executable, __file__, which], capture_output=True, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1])

    once = subprocess.run(
        [sys.executable, "-m", "nvitop", "--once"], capture_output=True, text=True, check=False
    )
    answer(
        {
            "pid": os.getpid(),
            "own": by_pynvml(),
            "child": ask_child("pynvml"),
            "nvitop": ask_child("nvitop"),
            "once": [once.returncode, once.stdout, once.stderr],
        }
    )
