"""Large copies of several threads at once want more staging chunks than there are; none may starve the others."""

import threading

import numpy as np
from learner import cu, ok, start

context = start()
MIB = 1 << 20
faults = []


def work(seed: int) -> None:
    try:
        ok(cu.cuCtxSetCurrent(context))
        data = np.random.default_rng(seed).integers(0, 256, 16 * MIB, dtype=np.uint8)
        back = np.zeros_like(data)
        block = ok(cu.cuMemAlloc(data.nbytes))
        for _ in range(3):
            ok(cu.cuMemcpyHtoD(block, data.ctypes.data, data.nbytes))
            back[:] = 0
            ok(cu.cuMemcpyDtoH(back.ctypes.data, block, data.nbytes))
            assert (back == data).all()
        ok(cu.cuMemFree(block))
    except BaseException as error:
        faults.append(repr(error))


threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
for t in threads:
    t.start()
for t in threads:
    t.join()
assert not faults, faults
print("ok")
