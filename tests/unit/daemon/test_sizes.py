"""Sizes are read as people write them and written as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_server.sizes import GIB, MIB, format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4GiB", 4 * GIB),
        ("4 gib", 4 * GIB),
        ("1.5G", 3 * GIB // 2),
        ("512MiB", 512 * MIB),
        ("16GB", 16 * 10**9),
        ("4096", 4096),
        ("0", 0),
    ],
)
def test_what_people_write(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "GiB", "4 GiBs", "-1GiB", "4GiB extra", "1e9", "nan", "99999999TiB", "1,5GiB"]
)
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write it like 4GiB"):
        parse_size(text)


@given(st.integers(0, (1 << 62)))
def test_bytes_stay_exact(size: int) -> None:
    assert parse_size(str(size)) == size


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1024, "1 KiB"), (512 * MIB, "512 MiB"), (4 * GIB, "4.0 GiB"), (3 << 40, "3.0 TiB")],
)
def test_what_people_read(size: int, text: str) -> None:
    assert format_size(size) == text
