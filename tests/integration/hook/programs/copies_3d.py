"""Copies of boxes between pageable, pinned and device memory and arrays, of sizes that go in one piece and in many."""

import ctypes
import threading

import numpy as np
from images import ARRAY, DEVICE, HOST, UNIFIED, array, box, download, upload
from learner import cu, fails, ok, start

context = start()
MIB = 1 << 20
random = np.random.default_rng(5)


def bytes_at(address: int, count: int) -> np.ndarray:
    return np.frombuffer((ctypes.c_char * count).from_address(address), np.uint8)


class Volume:
    """Bytes of shape (planes, rows, pitch) in one kind of memory."""

    def __init__(self, kind: str, shape: tuple[int, int, int]) -> None:
        self.kind, self.shape = kind, shape
        self.bytes = int(np.prod(shape))
        if kind == "pageable":
            self.data = np.zeros(self.bytes, np.uint8)
            self.side = (HOST, self.data.ctypes.data)
        elif kind == "pinned":
            self.address = int(ok(cu.cuMemHostAlloc(self.bytes, 0)))
            self.side = (HOST, self.address)
        else:
            self.address = int(ok(cu.cuMemAlloc(self.bytes)))
            self.side = (DEVICE if kind == "device" else UNIFIED, self.address)

    @property
    def rows(self) -> tuple[int, int]:
        return self.shape[2], self.shape[1]

    def write(self, data: np.ndarray) -> None:
        if self.kind == "pageable":
            self.data[:] = data.ravel()
        elif self.kind == "pinned":
            bytes_at(self.address, self.bytes)[:] = data.ravel()
        else:
            ok(cu.cuMemcpyHtoD(self.address, np.ascontiguousarray(data).ctypes.data, self.bytes))

    def read(self) -> np.ndarray:
        out = np.zeros(self.bytes, np.uint8)
        if self.kind == "pageable":
            out[:] = self.data
        elif self.kind == "pinned":
            out[:] = bytes_at(self.address, self.bytes)
        else:
            ok(cu.cuMemcpyDtoH(out.ctypes.data, self.address, self.bytes))
        return out.reshape(self.shape)

    def free(self) -> None:
        if self.kind == "pinned":
            ok(cu.cuMemFreeHost(self.address))
        elif self.kind != "pageable":
            ok(cu.cuMemFree(self.address))


def copied(source: np.ndarray, target: np.ndarray, size: tuple, of: tuple, to: tuple) -> np.ndarray:
    """What `target` is after the copy."""
    (w, h, d), (x, y, z), (u, v, t) = size, of, to
    result = target.copy()
    result[t : t + d, v : v + h, u : u + w] = source[z : z + d, y : y + h, x : x + w]
    return result


# A copy between contexts of one device is a copy, whichever contexts it names.
source, before = (random.integers(0, 256, (2, 3, 40), dtype=np.uint8) for _ in range(2))
a, b = Volume("device", (2, 3, 40)), Volume("pageable", (2, 3, 40))
a.write(source)
peer = cu.CUDA_MEMCPY3D_PEER()
peer.srcMemoryType, peer.srcDevice, peer.srcPitch, peer.srcHeight = DEVICE, cu.CUdeviceptr(a.address), 40, 3
peer.dstMemoryType, peer.dstHost, peer.dstPitch, peer.dstHeight = HOST, b.data.ctypes.data, 40, 3
peer.WidthInBytes, peer.Height, peer.Depth = 40, 3, 2
peer.srcContext = peer.dstContext = context
ok(cu.cuMemcpy3DPeer(peer))
assert (b.read() == source).all()
b.write(before)
peer.WidthInBytes, peer.srcXInBytes = 30, 10
stream = ok(cu.cuStreamCreate(1))
ok(cu.cuMemcpy3DPeerAsync(peer, stream))
ok(cu.cuStreamSynchronize(stream))
assert (b.read() == copied(source, before, (30, 3, 2), (10, 0, 0), (0, 0, 0))).all()
ok(cu.cuStreamDestroy(stream))
a.free()

KINDS = ("pageable", "pinned", "device", "unified")
for of in KINDS:
    for to in KINDS:
        a, b = Volume(of, (4, 9, 100)), Volume(to, (5, 7, 300))
        source, before = (random.integers(0, 256, v.shape, dtype=np.uint8) for v in (a, b))
        a.write(source)
        b.write(before)
        size, start_of, start_to = (61, 5, 3), (33, 4, 1), (7, 2, 2)
        where = {"of": a.side, "of_rows": a.rows, "of_at": start_of}
        where |= {"to": b.side, "to_rows": b.rows, "to_at": start_to}
        ok(cu.cuMemcpy3D(box(*size, **where)))
        assert np.array_equal(b.read(), copied(source, before, size, start_of, start_to)), (of, to)
        stream = ok(cu.cuStreamCreate(1))
        b.write(before)
        ok(cu.cuMemcpy3DAsync(box(*size, **where), stream))
        ok(cu.cuStreamSynchronize(stream))
        assert np.array_equal(b.read(), copied(source, before, size, start_of, start_to)), (of, to)
        ok(cu.cuStreamDestroy(stream))
        a.free()
        b.free()

# Rows wider than a staging chunk, planes larger than one, and many small planes.
for shape in ((2, 3, 2 * MIB + 5), (3, 1500, 1000), (700, 9, 200), (1, 1, 1)):
    planes, rows, width = shape
    texels = random.integers(0, 256, shape, dtype=np.uint8)
    device = Volume("device", (planes, rows, width + 11))
    where = {"of": (HOST, texels.ctypes.data), "of_rows": (width, rows), "to": device.side}
    ok(cu.cuMemcpy3D(box(width, rows, planes, to_rows=device.rows, **where)))
    assert np.array_equal(device.read()[:, :, :width], texels), shape
    back = np.zeros_like(texels)
    where = {"to": (HOST, back.ctypes.data), "to_rows": (width, rows), "of": device.side}
    ok(cu.cuMemcpy3D(box(width, rows, planes, of_rows=device.rows, **where)))
    assert np.array_equal(back, texels), shape
    device.free()

# Arrays: from and to every kind of memory, by parts, and between each other.
texels = random.integers(0, 256, (6, 20, 30, 4), dtype=np.uint8)
for kind in KINDS:
    volume = Volume(kind, (6, 20, 120))
    volume.write(texels)
    one = array(30, 20, 6, dtype="uint8", channels=4)
    ok(cu.cuMemcpy3D(box(120, 20, 6, of=volume.side, of_rows=volume.rows, to=(ARRAY, one))))
    assert np.array_equal(download(one, texels), texels), kind
    volume.write(np.zeros((6, 20, 120), np.uint8))
    part = {"of": (ARRAY, one), "of_at": (40, 3, 2), "to": volume.side, "to_rows": volume.rows}
    ok(cu.cuMemcpy3D(box(80, 10, 3, to_at=(0, 5, 1), **part)))
    ok(cu.cuCtxSynchronize())
    wanted = np.zeros((6, 20, 120), np.uint8)
    wanted[1:4, 5:15, :80] = texels.reshape(6, 20, 120)[2:5, 3:13, 40:]
    assert np.array_equal(volume.read(), wanted), kind
    two = array(30, 20, 6, dtype="uint8", channels=4)
    upload(two, np.zeros_like(texels))
    ok(cu.cuMemcpy3D(box(40, 20, 1, of=(ARRAY, one), of_at=(0, 0, 5), to=(ARRAY, two), to_at=(80, 0, 0))))
    got = download(two, texels)
    assert np.array_equal(got[0, :, 20:], texels[5, :, :10]), kind
    assert got[0, :, :20].max() == got[1:].max() == 0
    ok(cu.cuArrayDestroy(one))
    ok(cu.cuArrayDestroy(two))
    volume.free()

large = random.random((1, 900, 1000, 4), np.float32)
one = array(1000, 900, channels=4)
upload(one, large)
assert np.array_equal(download(one, large), large)

# Two dimensions with an array at either end.
two = cu.CUDA_MEMCPY2D()
image = random.random((50, 200, 4), np.float32)
two.srcMemoryType, two.srcHost, two.srcPitch = HOST, image.ctypes.data, image[0].nbytes
two.dstMemoryType, two.dstArray, two.dstXInBytes, two.dstY = ARRAY, one, 160, 30
two.WidthInBytes, two.Height = image[0].nbytes, 50
ok(cu.cuMemcpy2D(two))
large[0, 30:80, 10:210] = image
back = np.zeros_like(image)
two.srcMemoryType, two.srcArray, two.srcXInBytes, two.srcY = ARRAY, one, 160, 30
two.dstMemoryType, two.dstHost, two.dstPitch, two.dstXInBytes, two.dstY = (
    HOST,
    back.ctypes.data,
    back[0].nbytes,
    0,
    0,
)
ok(cu.cuMemcpy2DUnaligned(two))
assert np.array_equal(back, image)
back[:] = 0
stream = ok(cu.cuStreamCreate(1))
ok(cu.cuMemcpy2DAsync(two, stream))
ok(cu.cuStreamSynchronize(stream))
assert np.array_equal(back, image)
assert np.array_equal(download(one, large), large)
two.Height = 871
fails(cu.cuMemcpy2D(two), "INVALID_VALUE")
ok(cu.cuArrayDestroy(one))

# Lines of one-dimensional arrays.
line, other = array(1000, dtype="uint16"), array(1000, dtype="uint16")
values = np.arange(1000, dtype=np.uint16)
got = np.zeros_like(values)
ok(cu.cuMemcpyHtoA(line, 0, values.ctypes.data, 2000))
ok(cu.cuMemcpyAtoA(other, 200, line, 0, 1800))
ok(cu.cuMemcpyHtoAAsync(other, 0, values.ctypes.data, 200, stream))
ok(cu.cuStreamSynchronize(stream))
ok(cu.cuMemcpyAtoH(got.ctypes.data, other, 0, 2000))
assert got.tolist() == [*range(100), *range(900)]
device = ok(cu.cuMemAlloc(2000))
ok(cu.cuMemcpyAtoD(device, other, 0, 2000))
ok(cu.cuMemcpyDtoA(line, 1000, int(device) + 1000, 1000))
ok(cu.cuMemcpyAtoHAsync(got.ctypes.data, line, 0, 2000, stream))
ok(cu.cuStreamSynchronize(stream))
assert got.tolist() == [*range(500), *range(400, 900)]
fails(cu.cuMemcpyAtoH(got.ctypes.data, line, 2, 2000), "INVALID_VALUE")
fails(cu.cuMemcpyAtoH(got.ctypes.data, line, 1, 2), "INVALID_VALUE")
fails(cu.cuMemcpyDtoA(line, 0, got.ctypes.data, 200), "INVALID_VALUE")
fails(cu.cuMemcpyHtoA(array(10, 10), 0, values.ctypes.data, 20), "INVALID_VALUE")
ok(cu.cuMemcpyAtoH(got.ctypes.data, line, 0, 0))

# Threads that copy at once want more staging chunks than there are; none may starve the others.
faults: list[str] = []


def work(seed: int) -> None:
    try:
        ok(cu.cuCtxSetCurrent(context))
        mine = np.random.default_rng(seed).random((3, 700, 500, 4), np.float32)
        held = array(500, 700, 3, channels=4)
        for _ in range(3):
            upload(held, mine)
            assert np.array_equal(download(held, mine), mine)
        ok(cu.cuArrayDestroy(held))
    except BaseException as error:
        faults.append(repr(error))


threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not faults, faults

# What cannot be.
device = ok(cu.cuMemAlloc(MIB))
host = np.zeros(MIB, np.uint8)
fine = {"of": (HOST, host.ctypes.data), "of_rows": (100, 10), "to": (DEVICE, device), "to_rows": (100, 10)}
ok(cu.cuMemcpy3D(box(100, 10, 100, **fine)))
for change in (
    {"of_rows": (99, 10)},
    {"to_rows": (100, 9)},
    {"to_rows": (100, 0)},
    {"of": (DEVICE, host.ctypes.data)},
    {"to": (HOST, 0)},
    {"to_at": (1, 0, 0)},
    {"of_at": (0, 1, 0)},
    {"of_at": (0, 0, 1 << 62)},
):
    fails(cu.cuMemcpy3D(box(100, 10, 100, **(fine | change))), "INVALID_VALUE")
ok(cu.cuMemcpy3D(box(100, 10, 0, **fine)))
leveled = box(100, 10, 100, **fine)
leveled.srcLOD = 1
fails(cu.cuMemcpy3D(leveled), "INVALID_VALUE")

# Past the end of what is allocated is told by the next call that waits, once.
ok(
    cu.cuMemcpy3DAsync(
        box(100, 10, 1000, of=(DEVICE, device), of_rows=(4096, 64), to=(DEVICE, device), to_rows=(4096, 64)),
        0,
    )
)
fails(cu.cuCtxSynchronize(), "INVALID_VALUE")
ok(cu.cuCtxSynchronize())
print("ok")
