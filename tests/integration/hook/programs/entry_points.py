"""The three ways into the driver: dlsym, cuGetProcAddress with versions and flags, cuGetExportTable."""

import ctypes

library = ctypes.CDLL("libcuda.so.1")
NOT_FOUND = 500


def get(name: bytes, version: int, flags: int = 0) -> tuple[int, int, int]:
    pointer, status = ctypes.c_void_p(), ctypes.c_int(-1)
    result = library.cuGetProcAddress_v2(
        name, ctypes.byref(pointer), version, ctypes.c_uint64(flags), ctypes.byref(status)
    )
    return result, pointer.value or 0, status.value


def symbol(name: str) -> int:
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0


assert get(b"cuMemAlloc", 13000) == (0, symbol("cuMemAlloc_v2"), 0)
assert get(b"cuStreamGetCaptureInfo", 11030)[1] == symbol("cuStreamGetCaptureInfo_v2")
assert get(b"cuStreamGetCaptureInfo", 12030)[1] == symbol("cuStreamGetCaptureInfo_v3")
assert get(b"cuLaunchKernel", 13000, 2)[1] == symbol("cuLaunchKernel_ptsz")
assert get(b"cuLaunchKernel", 13000, 1)[1] == symbol("cuLaunchKernel")
assert get(b"cuMemcpyHtoD", 13000, 2)[1] == symbol("cuMemcpyHtoD_v2_ptds")
assert get(b"cuGetProcAddress", 11030)[1] == symbol("cuGetProcAddress")
assert get(b"cuGetProcAddress", 12000)[1] == symbol("cuGetProcAddress_v2")
assert get(b"cuGraphCreate", 13000)[0] == 0
assert get(b"cuNoSuchFunction", 13000) == (NOT_FOUND, 0, 1)
assert get(b"cuLibraryLoadData", 11000) == (NOT_FOUND, 0, 2)
assert get(b"", 0)[0] == 0

assert library.cuGetExportTable(None, None) == 1
assert library.cuInit(0) == 0
context = ctypes.c_void_p()
assert library.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0


def table(uuid: str) -> list[int]:
    pointer = ctypes.POINTER(ctypes.c_uint64)()
    identifier = (ctypes.c_ubyte * 16).from_buffer_copy(bytes.fromhex(uuid.replace("-", "")))
    result = library.cuGetExportTable(ctypes.byref(pointer), identifier)
    if result != 0:
        assert result == NOT_FOUND
        return []
    return [pointer[i] for i in range(4)]


SIZES = {
    "6bd5fb6c-5bf4-e74a-8987-d93912fd9df9": 13,
    "d4082055-bde6-704b-8d34-ba123c66e1f2": 3,
    "a094798c-2e74-2e74-93f2-0800200c0a66": 7,
    "42d85a81-23f6-cb47-8298-f6e78a3aecdc": 3,
    "21318c60-9714-3248-8ca6-41ff7324c8f2": 93,
    "6e163fbe-b958-444d-835c-e182aff1991e": 99,
    "1734dc26-800d-4745-8726-c0f1e7dd8bca": 17,
}
for uuid, words in SIZES.items():
    assert table(uuid)[0] == 8 * words, uuid
assert table("00000000-0000-0000-0000-000000000001") == []

# Storage that libraries keep with a context; its destructors run when the context ends.
put, remove, find, _ = table("c693336e-1121-df11-a8c3-68f355d89593")
DESTROY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
destroyed = []
destroy = DESTROY(lambda c, k, v: destroyed.append((c, k, v)))
pointer = ctypes.c_void_p
put_ = ctypes.CFUNCTYPE(ctypes.c_int, pointer, pointer, pointer, DESTROY)(put)
remove_ = ctypes.CFUNCTYPE(ctypes.c_int, pointer, pointer)(remove)
find_ = ctypes.CFUNCTYPE(ctypes.c_int, pointer, pointer, pointer)(find)
value = ctypes.c_void_p()
assert find_(ctypes.byref(value), context, 11) != 0
assert put_(context, 11, 22, destroy) == 0
assert put_(context, 33, 44, destroy) == 0
assert find_(ctypes.byref(value), context, 11) == 0
assert value.value == 22
assert remove_(context, 33) == 0
assert find_(ctypes.byref(value), context, 33) != 0
assert library.cuDevicePrimaryCtxReset_v2(0) == 0
assert destroyed == [(context.value, 11, 22)], destroyed
print("ok")
