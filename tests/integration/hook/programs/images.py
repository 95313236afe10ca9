"""What programs with arrays share: descriptors of cuda.h and copies of boxes, from keywords."""

from __future__ import annotations

from typing import Any

import numpy as np
from learner import cu, ok

LAYERED, SURFACE = 1, 2
AS_INTEGER, NORMALISED = 1, 2
HOST, DEVICE = cu.CUmemorytype.CU_MEMORYTYPE_HOST, cu.CUmemorytype.CU_MEMORYTYPE_DEVICE
ARRAY, UNIFIED = cu.CUmemorytype.CU_MEMORYTYPE_ARRAY, cu.CUmemorytype.CU_MEMORYTYPE_UNIFIED
_FORMAT = cu.CUarray_format
FORMATS = {
    "uint8": _FORMAT.CU_AD_FORMAT_UNSIGNED_INT8,
    "uint16": _FORMAT.CU_AD_FORMAT_UNSIGNED_INT16,
    "uint32": _FORMAT.CU_AD_FORMAT_UNSIGNED_INT32,
    "int8": _FORMAT.CU_AD_FORMAT_SIGNED_INT8,
    "int16": _FORMAT.CU_AD_FORMAT_SIGNED_INT16,
    "int32": _FORMAT.CU_AD_FORMAT_SIGNED_INT32,
    "float16": _FORMAT.CU_AD_FORMAT_HALF,
    "float32": _FORMAT.CU_AD_FORMAT_FLOAT,
}


def descriptor(
    width: int, height: int = 0, depth: int = 0, dtype: str = "float32", channels: int = 1, flags: int = 0
) -> Any:
    """A CUDA_ARRAY3D_DESCRIPTOR."""
    d = cu.CUDA_ARRAY3D_DESCRIPTOR()
    d.Width, d.Height, d.Depth = width, height, depth
    d.Format, d.NumChannels, d.Flags = FORMATS[dtype], channels, flags
    return d


def array(*shape: int, **more: Any) -> Any:
    """A fresh array: width, height, depth."""
    return ok(cu.cuArray3DCreate(descriptor(*shape, **more)))


def box(width: int, height: int = 1, depth: int = 1, **sides: Any) -> Any:
    """A CUDA_MEMCPY3D.

    `to` and `of` are (kind, where); to_at and of_at (x in bytes, y, z); to_rows and of_rows (pitch, height).
    """
    c = cu.CUDA_MEMCPY3D()
    c.WidthInBytes, c.Height, c.Depth = width, height, depth
    for side, prefix in (("of", "src"), ("to", "dst")):
        kind, where = sides[side]
        setattr(c, f"{prefix}MemoryType", kind)
        name = {HOST: "Host", DEVICE: "Device", UNIFIED: "Device", ARRAY: "Array"}[kind]
        setattr(c, prefix + name, where)
        x, y, z = sides.get(f"{side}_at", (0, 0, 0))
        setattr(c, f"{prefix}XInBytes", x)
        setattr(c, f"{prefix}Y", y)
        setattr(c, f"{prefix}Z", z)
        pitch, rows = sides.get(f"{side}_rows", (0, 0))
        setattr(c, f"{prefix}Pitch", pitch)
        setattr(c, f"{prefix}Height", rows)
    return c


def upload(to: Any, texels: np.ndarray[Any, Any]) -> None:
    """Fills an array; `texels` is (depth, height, width, channels)."""
    texels = np.ascontiguousarray(texels)
    depth, height = texels.shape[:2]
    row = texels[0, 0].nbytes
    ok(
        cu.cuMemcpy3D(
            box(row, height, depth, of=(HOST, texels.ctypes.data), of_rows=(row, height), to=(ARRAY, to))
        )
    )


def download(of: Any, like: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What an array holds, in the shape and type of `like`."""
    texels = np.zeros_like(like)
    depth, height = texels.shape[:2]
    row = texels[0, 0].nbytes
    ok(
        cu.cuMemcpy3D(
            box(row, height, depth, to=(HOST, texels.ctypes.data), to_rows=(row, height), of=(ARRAY, of))
        )
    )
    return texels


def texture(
    resource: Any,
    *,
    linear: bool = False,
    flags: int = 0,
    address: int = 1,
    border: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0),
    greatest_level: float = 0.0,
    linear_levels: bool = False,
) -> tuple[Any, ...]:
    """cuTexObjectCreate's own answer."""
    t = cu.CUDA_TEXTURE_DESC()
    t.addressMode = [cu.CUaddress_mode(address)] * 3
    t.filterMode = cu.CUfilter_mode(int(linear))
    t.mipmapFilterMode = cu.CUfilter_mode(int(linear_levels))
    t.flags = flags
    t.borderColor = list(border)
    t.maxMipmapLevelClamp = greatest_level
    result: tuple[Any, ...] = cu.cuTexObjectCreate(resource, t, None)
    return result


def of_array(a: Any) -> Any:
    """A resource descriptor of an array."""
    r = cu.CUDA_RESOURCE_DESC()
    r.resType = cu.CUresourcetype.CU_RESOURCE_TYPE_ARRAY
    r.res.array.hArray = a
    return r


def of_mipmapped(a: Any) -> Any:
    """A resource descriptor of a mipmapped array."""
    r = cu.CUDA_RESOURCE_DESC()
    r.resType = cu.CUresourcetype.CU_RESOURCE_TYPE_MIPMAPPED_ARRAY
    r.res.mipmap.hMipmappedArray = a
    return r


def of_line(address: int, size: int, dtype: str, channels: int = 1) -> Any:
    """A resource descriptor of linear memory."""
    r = cu.CUDA_RESOURCE_DESC()
    r.resType = cu.CUresourcetype.CU_RESOURCE_TYPE_LINEAR
    r.res.linear.devPtr, r.res.linear.sizeInBytes = address, size
    r.res.linear.format, r.res.linear.numChannels = FORMATS[dtype], channels
    return r


def of_plane(address: int, width: int, height: int, pitch: int, dtype: str, channels: int = 1) -> Any:
    """A resource descriptor of pitched memory."""
    r = cu.CUDA_RESOURCE_DESC()
    r.resType = cu.CUresourcetype.CU_RESOURCE_TYPE_PITCH2D
    p = r.res.pitch2D
    p.devPtr, p.width, p.height, p.pitchInBytes = address, width, height, pitch
    p.format, p.numChannels = FORMATS[dtype], channels
    return r
