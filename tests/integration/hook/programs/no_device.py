"""cuInit where there is no device for this process."""

import ctypes
import os

if "HIDE" in os.environ:  # set here, because the launcher cleans what the host's own GPUs are named by
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ["HIDE"]
library = ctypes.CDLL("libcuda.so.1")
expected = int(os.environ.get("EXPECT", "100"))
assert library.cuInit(0) == expected
count = ctypes.c_int()
assert library.cuDeviceGetCount(ctypes.byref(count)) == 3
version = ctypes.c_int()
assert library.cuDriverGetVersion(ctypes.byref(version)) == 0
assert version.value >= 13000
print("ok")
