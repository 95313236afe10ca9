"""Many threads at once, more than there are reply slots under way, each with its own stream and results."""

import threading

import numpy as np
from learner import KERNELS, compile_ptx, cu, launch, ok, start, u32, u64

context = start()
module = ok(cu.cuModuleLoadData(compile_ptx(KERNELS)))
add = ok(cu.cuModuleGetFunction(module, b"add"))
faults = []


def work(seed: int) -> None:
    try:
        ok(cu.cuCtxSetCurrent(context))
        stream = ok(cu.cuStreamCreate(1))
        random = np.random.default_rng(seed)
        for _ in range(6):
            n = int(random.integers(1, 300_000))
            data = random.integers(0, 1 << 31, n, dtype=np.uint32)
            block = ok(cu.cuMemAlloc(n * 4))
            ok(cu.cuMemcpyHtoDAsync(block, data.ctypes.data, n * 4, stream))
            for _ in range(5):
                ok(launch(add, (n + 255) // 256, 256, u64(block), u32(seed), u32(n), stream=stream))
            back = np.zeros_like(data)
            ok(cu.cuMemcpyDtoHAsync(back.ctypes.data, block, n * 4, stream))
            ok(cu.cuStreamSynchronize(stream))
            assert (back == data + np.uint32(5 * seed)).all()
            ok(cu.cuMemFree(block))
        ok(cu.cuStreamDestroy(stream))
    except BaseException as error:
        faults.append(repr(error))


threads = [threading.Thread(target=work, args=(i,)) for i in range(1, 25)]
for t in threads:
    t.start()
for t in threads:
    t.join()
assert not faults, faults
assert ok(cu.cuMemGetInfo())[0] == 128 << 20
print("ok")
