"""Host memory that a program registers: known as page-locked, copied rightly, and without a device pointer."""

import numpy as np
from learner import cu, fails, ok, start

start()
attribute = cu.CUdevice_attribute
assert ok(cu.cuDeviceGetAttribute(attribute.CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED, 0)) == 1
usable = attribute.CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM
assert ok(cu.cuDeviceGetAttribute(usable, 0)) == 0

data = np.arange(1 << 20, dtype=np.uint32)
address, size = data.ctypes.data, data.nbytes
kind = cu.CUpointer_attribute.CU_POINTER_ATTRIBUTE_MEMORY_TYPE
fails(cu.cuPointerGetAttribute(kind, address), "INVALID_VALUE")
ok(cu.cuMemHostRegister(address, size, 1))
assert int(ok(cu.cuPointerGetAttribute(kind, address + 4096))) == 1  # host memory
assert ok(cu.cuMemHostGetFlags(address)) == 1
fails(cu.cuMemHostGetDevicePointer(address, 0), "NOT_SUPPORTED")
fails(cu.cuMemHostRegister(address + 8, 16, 0), "HOST_MEMORY_ALREADY_REGISTERED")

stream, device = ok(cu.cuStreamCreate(1)), ok(cu.cuMemAlloc(size))
back = np.zeros_like(data)
ok(cu.cuMemHostRegister(back.ctypes.data, size, 0))
ok(cu.cuMemcpyHtoDAsync(device, address, size, stream))
ok(cu.cuMemcpyDtoHAsync(back.ctypes.data, device, size, stream))
ok(cu.cuStreamSynchronize(stream))
assert (back == data).all()

ok(cu.cuMemHostUnregister(address))
fails(cu.cuMemHostUnregister(address), "HOST_MEMORY_NOT_REGISTERED")
fails(cu.cuMemHostUnregister(back.ctypes.data + 4), "INVALID_VALUE")
fails(cu.cuPointerGetAttribute(kind, address), "INVALID_VALUE")
pinned = ok(cu.cuMemHostAlloc(4096, 0))
fails(cu.cuMemHostRegister(pinned, 4096, 0), "HOST_MEMORY_ALREADY_REGISTERED")
fails(cu.cuMemHostRegister(int(device), 4096, 0), "INVALID_VALUE")
fails(cu.cuMemHostRegister(16, 4096, 0), "INVALID_VALUE")
fails(cu.cuMemHostRegister(back.ctypes.data, 0, 0), "INVALID_VALUE")
print("ok")
