"""Large copies of several threads at once want more staging chunks than there are; none may starve the others."""

import threading

import numpy as np
from learner import cu, ok, start

context = start()
MIB = 1 << 20
faults = []


def odd_places() -> None:
    """Neither the program's memory nor its size needs to be a round one; what lies beside it stays as it was."""
    data = np.random.default_rng(7).integers(0, 256, 6 * MIB, dtype=np.uint8)
    block = ok(cu.cuMemAlloc(data.nbytes))
    ok(cu.cuMemcpyHtoD(block, data.ctypes.data, data.nbytes))
    for start_at in (0, 1, 16, 63):
        for size in (4 * MIB, 4 * MIB + 1, 5 * MIB + 77, 4 * MIB - 1):
            back = np.full(start_at + size + 64, 99, np.uint8)
            ok(cu.cuMemcpyDtoH(back.ctypes.data + start_at, block, size))
            assert (back[start_at : start_at + size] == data[:size]).all()
            assert (back[:start_at] == 99).all()
            assert (back[start_at + size :] == 99).all()
    ok(cu.cuMemFree(block))


odd_places()


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
