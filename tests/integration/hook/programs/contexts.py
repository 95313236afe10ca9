"""The current context is a stack per thread; nothing works without one."""

import threading

from learner import cu, fails, ok

fails(cu.cuDeviceGet(0), "NOT_INITIALIZED")
ok(cu.cuInit(0))
assert ok(cu.cuDeviceGetCount()) == 1
fails(cu.cuDeviceGet(1), "INVALID_DEVICE")
fails(cu.cuMemAlloc(16), "INVALID_CONTEXT")
assert ok(cu.cuDevicePrimaryCtxGetState(0))[1] == 0
context = ok(cu.cuDevicePrimaryCtxRetain(0))
assert int(ok(cu.cuCtxGetCurrent())) == 0
ok(cu.cuCtxPushCurrent(context))
assert int(ok(cu.cuCtxGetCurrent())) == int(context)
assert int(ok(cu.cuCtxGetDevice())) == 0

seen = []


def other_thread() -> None:
    seen.append(int(ok(cu.cuCtxGetCurrent())))
    fails(cu.cuMemAlloc(16), "INVALID_CONTEXT")
    ok(cu.cuCtxSetCurrent(context))
    ok(cu.cuMemFree(ok(cu.cuMemAlloc(16))))


thread = threading.Thread(target=other_thread)
thread.start()
thread.join()
assert seen == [0]

assert int(ok(cu.cuCtxPopCurrent())) == int(context)
fails(cu.cuCtxPopCurrent(), "INVALID_CONTEXT")
ok(cu.cuCtxSetCurrent(context))

# Retained twice, released once: still there. Released for good: gone with what it held, and made anew.
ok(cu.cuDevicePrimaryCtxRetain(0))
ok(cu.cuDevicePrimaryCtxRelease(0))
address = ok(cu.cuMemAlloc(1 << 20))
ok(cu.cuDevicePrimaryCtxRelease(0))
assert ok(cu.cuDevicePrimaryCtxGetState(0))[1] == 0
fails(cu.cuMemAlloc(16), "CONTEXT_IS_DESTROYED")
ok(cu.cuDevicePrimaryCtxRetain(0))
fails(cu.cuMemFree(address), "INVALID_VALUE")
free, total = ok(cu.cuMemGetInfo())
assert total == 128 << 20, total
assert free == total, (free, total)
limit = cu.CUlimit.CU_LIMIT_STACK_SIZE
assert ok(cu.cuCtxGetLimit(limit)) > 0
print("ok")
