"""printf and assert in kernels: the text is there before the call that synchronised returns, in order with our own."""

import ctypes
import os
import tempfile
import threading

from learner import compile_ptx, cu, launch, ok, start, u32

SOURCE = r"""
extern "C" __global__ void greet(int n) {
  printf("kernel %d thread %d of %s: %5.2f\n", n, (int)threadIdx.x, "many", 1.5f * n);
}
extern "C" __global__ void chatter(int lines) {
  for (int i = 0; i < lines; ++i) printf("line %06d of the flood, with words to fill it up a little more\n", i);
}
"""
context = start()
libc = ctypes.CDLL(None)
module = ok(cu.cuModuleLoadData(compile_ptx(SOURCE)))
greet, chatter = (ok(cu.cuModuleGetFunction(module, n)) for n in (b"greet", b"chatter"))
stream = ok(cu.cuStreamCreate(1))

with tempfile.TemporaryFile() as captured:
    real = os.dup(1)
    os.dup2(captured.fileno(), 1)
    libc.printf(b"before\n")  # through C's own buffer
    ok(launch(greet, 1, 2, u32(1)))
    ok(cu.cuCtxSynchronize())
    libc.puts(b"between")
    ok(launch(greet, 1, 1, u32(2), stream=stream))
    ok(cu.cuStreamSynchronize(stream))
    event = ok(cu.cuEventCreate(0))
    ok(launch(greet, 1, 1, u32(3), stream=stream))
    ok(cu.cuEventRecord(event, stream))
    ok(cu.cuEventSynchronize(event))
    size = os.fstat(captured.fileno()).st_size
    text = os.pread(captured.fileno(), size, 0).decode()
    lines = 40_000  # more than the ring of text holds
    ok(launch(chatter, 1, 1, u32(lines)))
    ok(cu.cuCtxSynchronize())
    flood = os.pread(captured.fileno(), os.fstat(captured.fileno()).st_size - size, size).decode()
    os.dup2(real, 1)
assert text.splitlines() == [
    "before",
    "kernel 1 thread 0 of many:  1.50",
    "kernel 1 thread 1 of many:  1.50",
    "between",
    "kernel 2 thread 0 of many:  3.00",
    "kernel 3 thread 0 of many:  4.50",
], text
got = flood.splitlines()
assert got == [f"line {i:06d} of the flood, with words to fill it up a little more" for i in range(lines)], (
    len(got),
    got[:3],
)

# More threads than there are places for replies wait for a kernel that printed more than the ring holds.
with tempfile.TemporaryFile() as captured:
    real = os.dup(1)
    os.dup2(captured.fileno(), 1)
    waiting = threading.Barrier(101)

    def wait() -> None:
        ok(cu.cuCtxSetCurrent(context))
        waiting.wait()
        ok(cu.cuStreamSynchronize(stream))

    threads = [threading.Thread(target=wait) for _ in range(100)]
    for thread in threads:
        thread.start()
    ok(launch(chatter, 1, 1, u32(lines), stream=stream))
    waiting.wait()
    for thread in threads:
        thread.join()
    ok(cu.cuCtxSynchronize())
    assert os.pread(captured.fileno(), os.fstat(captured.fileno()).st_size, 0).decode().splitlines() == got
    os.dup2(real, 1)
print("ok")
