"""Texture and surface objects on NumPy arrays, and what a GPU's texture unit makes of them, in NumPy.

`Image` makes an object of the test library over device memory. `reference()` is the rule of the CUDA programming
guide's chapter on texture fetching: coordinates to texels, addressing modes, and the linear filter with weights of
eight fractional bits.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from device import Buffer, library

Array = np.ndarray[Any, Any]
CHANNELS = [np.uint8, np.uint16, np.uint32, np.int8, np.int16, np.int32, np.float16, np.float32]
WRAP, CLAMP, MIRROR, BORDER = range(4)


class _Description(ctypes.Structure):
    _fields_ = [
        *(
            (name, ctypes.c_uint32)
            for name in "surface layered linear_memory channel channels levels".split()
        ),
        ("addressing", ctypes.c_uint32 * 3),
        *(
            (name, ctypes.c_uint32)
            for name in "linear_filter linear_levels normalised_coordinates normalised_values".split()
        ),
        *((name, ctypes.c_float) for name in "level_bias least_level greatest_level".split()),
        ("border", ctypes.c_float * 4),
    ]


class _Level(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in "base width height depth pitch slice".split()]


class Image:
    """An object over copies of `levels`: arrays of shape (depth, height, width, channels), rows padded by `pad` bytes."""

    def __init__(self, *levels: Array, pad: int = 0, **settings: Any) -> None:
        self.shapes = [level.shape for level in levels]
        self.dtype = levels[0].dtype
        self.pad = pad
        rows = []
        for level in levels:
            depth, height, width, channels = level.shape
            row = width * channels * level.itemsize
            raw = np.zeros((depth, height, row + pad), np.uint8)
            raw[:, :, :row] = np.ascontiguousarray(level).view(np.uint8).reshape(depth, height, row)
            rows.append(raw)
        self.buffers = [Buffer(raw) for raw in rows]
        described = (_Level * len(levels))()
        for place, buffer, level in zip(described, self.buffers, levels, strict=True):
            depth, height, width, channels = level.shape
            pitch = width * channels * level.itemsize + pad
            place.base, place.width, place.height, place.depth = buffer.address, width, height, depth
            place.pitch, place.slice = pitch, pitch * height
        addressing = settings.pop("addressing", CLAMP)
        border = settings.pop("border", (0.0, 0.0, 0.0, 0.0))
        description = _Description(
            channel=CHANNELS.index(self.dtype.type),
            channels=levels[0].shape[3],
            levels=len(levels),
            addressing=(ctypes.c_uint32 * 3)(*([addressing] * 3)),
            border=(ctypes.c_float * 4)(*border),
            **{
                name: float(value) if "level" in name and name != "linear_levels" else int(value)
                for name, value in settings.items()
            },
        )
        self.value = np.uint64(library().sp_texture(ctypes.byref(description), described))
        assert self.value != 0

    def read(self) -> Array:
        """The first level as it is now."""
        depth, height, width, channels = self.shapes[0]
        raw = self.buffers[0].array[:, :, : width * channels * self.dtype.itemsize]
        return np.ascontiguousarray(raw).view(self.dtype).reshape(depth, height, width, channels)

    def forget(self) -> None:
        """Ends the object; its memory stays."""
        library().sp_forget_texture(ctypes.c_uint64(int(self.value)))

    def free(self) -> None:
        """Ends the object and its memory."""
        self.forget()
        for buffer in self.buffers:
            buffer.free()


def as_floats(level: Array) -> Array:
    """Texels as a float fetch reads them: integers of 8 and 16 bits become 0 .. 1 or -1 .. 1."""
    if level.dtype.kind == "f":
        return level.astype(np.float32)
    greatest = np.float32(np.iinfo(level.dtype).max)
    return np.maximum(level.astype(np.float32) / greatest, np.float32(-1))


def _unnormalised(x: Array, size: int, mode: int) -> Array:
    if mode == WRAP:
        return (x - np.floor(x)) * size
    if mode == MIRROR:
        whole = np.floor(x)
        part = x - whole
        return np.where(whole % 2 == 0, part, 1 - part) * size
    return x * size


def _addressed(index: Array, size: int, mode: int) -> tuple[Array, Array]:
    """The texels that indices stand for, and which are inside."""
    outside = (index < 0) | (index >= size)
    if mode == BORDER:
        return np.where(outside, 0, index), ~outside
    if mode == WRAP:
        return index % size, np.ones_like(outside)
    if mode == MIRROR:
        folded = index % (2 * size)
        return np.where(folded >= size, 2 * size - 1 - folded, folded), np.ones_like(outside)
    return np.clip(index, 0, size - 1), np.ones_like(outside)


def reference(
    texels: Array,
    points: list[Array],
    *,
    addressing: int = CLAMP,
    linear: bool = False,
    normalised: bool = False,
    border: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0),
    layer: Array | None = None,
) -> Array:
    """Samples `texels` (depth, height, width, channels) at coordinates x[, y[, z]]; shape (points, channels)."""
    mode = addressing if normalised or addressing in (CLAMP, BORDER) else CLAMP
    sizes = [texels.shape[2], texels.shape[1], texels.shape[0]][: len(points)]
    at = [
        _unnormalised(p.astype(np.float64), n, mode) if normalised else p.astype(np.float64)
        for p, n in zip(points, sizes, strict=True)
    ]
    outside = np.array(border[: texels.shape[3]], texels.dtype)

    def texel(index: list[Array]) -> Array:
        inside = np.ones(len(points[0]), bool)
        place = []
        for i, n in zip(index, sizes, strict=True):
            folded, fits = _addressed(i.astype(np.int64), n, mode)
            place.append(folded)
            inside &= fits
        place += [np.zeros(len(points[0]), np.int64)] * (3 - len(place))
        if layer is not None:
            place[2] = np.clip(layer, 0, texels.shape[0] - 1)
        found: Array = texels[place[2], place[1], place[0]]
        return np.where(inside[:, None], found, outside)

    if not linear:
        return texel([np.floor(x) for x in at])
    fixed = [np.floor(x * 256 - 128 + 0.5).astype(np.int64) for x in at]
    first, weight = [f >> 8 for f in fixed], [(f & 255).astype(np.float64) / 256 for f in fixed]
    total = np.zeros((len(points[0]), texels.shape[3]))
    for corner in np.ndindex(*([2] * len(points))):
        share = np.ones(len(points[0]))
        for c, w in zip(corner, weight, strict=True):
            share = share * (w if c else 1 - w)
        total += share[:, None] * texel([f + c for f, c in zip(first, corner, strict=True)]).astype(
            np.float64
        )
    return total.astype(np.float32)
