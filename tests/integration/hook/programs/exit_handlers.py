"""Libraries call the driver from their exit handlers and destructors: it answers, whatever was registered when."""

import atexit
import ctypes

library = ctypes.CDLL("libcuda.so.1")


def late_call() -> None:
    """Registered before cuInit: runs after the hook's own handler."""
    result = library.cuCtxSynchronize()
    assert result in (0, 4), result
    print("ok", flush=True)


atexit.register(late_call)
assert library.cuInit(0) == 0
context = ctypes.c_void_p()
assert library.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
assert library.cuCtxSetCurrent(context) == 0
address = ctypes.c_uint64()
assert library.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(4096)) == 0
assert library.cuMemsetD8_v2(address, 1, ctypes.c_size_t(4096)) == 0
