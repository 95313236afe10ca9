"""What the tests' notebooks run: memory that is held, work that goes on until the file `stop` is there."""

from __future__ import annotations

SMALL, LARGE = "Python 3 (vGPU 256 MiB)", "Python 3 (vGPU 640 MiB)"

HOLD = """
from cuda.core import Device
device = Device()
device.set_current()
stream = device.create_stream()
held = device.allocate({megabytes} << 20, stream=stream)
stream.sync()
print("holds", {megabytes})
"""
WORK = """
import os
import numpy as np
from cuda.core import LaunchConfig, Program, ProgramOptions, launch
source = 'extern "C" __global__ void halve(float* x, int n) { for (int k = 0; k < n; k++) x[threadIdx.x] *= 0.5f; }'
options = ProgramOptions(std="c++17", arch=f"sm_{device.arch}")
halve = Program(source, code_type="c++", options=options).compile("ptx").get_kernel("halve")
while not os.path.exists("stop"):
    launch(stream, LaunchConfig(grid=1, block=32), halve, held, np.int32(1000))
    stream.sync()
print("has stopped")
"""
