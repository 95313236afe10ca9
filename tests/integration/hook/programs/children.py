"""Processes that a program starts, by spawn and by exec, have CUDA of their own."""

import multiprocessing
import subprocess
import sys


def compute(n: int) -> int:
    import ctypes

    from learner import KERNELS, compile_ptx, cu, launch, ok, start, u32, u64

    start()
    module = ok(cu.cuModuleLoadData(compile_ptx(KERNELS)))
    data = ok(cu.cuMemAlloc(128))
    ok(cu.cuMemsetD8(data, 0, 128))
    ok(launch(ok(cu.cuModuleGetFunction(module, b"add")), 1, 32, u64(data), u32(n), u32(32)))
    value = ctypes.c_uint32()
    ok(cu.cuMemcpyDtoH(ctypes.addressof(value), data, 4))
    return value.value


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(compute(int(sys.argv[1])))
        sys.exit()
    assert compute(1) == 1
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(compute, [2]) == [2]
    said = subprocess.run([sys.executable, __file__, "3"], check=True, capture_output=True, text=True).stdout
    assert said == "3\n", said
    print("ok")
