"""The Python layout of the handshake is the header's, and hostile Hellos are refused with a sentence."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_server import handshake
from gpu_server.handshake import HELLO, WELCOME, BadHello, Hello, Welcome, WelcomeStatus

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_layout_is_the_headers(tmp_path: Path) -> None:
    lines = []
    for struct, fields in (("Hello", handshake.HELLO_LAYOUT), ("Welcome", handshake.WELCOME_LAYOUT)):
        for name, _, _ in fields:
            lines.append(
                f'std::printf("{struct} {name} %zu %zu\\n", offsetof({struct}, {name}), sizeof({struct}::{name}));'
            )
        lines.append(f'std::printf("{struct} - %zu 0\\n", sizeof({struct}));')
    for status in WelcomeStatus:
        lines.append(
            f'std::printf("status {status.name} %u 0\\n", '
            f"static_cast<unsigned>(WelcomeStatus::{status.name.lower()}));"
        )
    lines.append('std::printf("version - %u 0\\n", kProtocolVersion);')
    lines.append('std::printf("magic %.7s %zu 0\\n", kHelloMagic, sizeof(kHelloMagic));')
    source = tmp_path / "layout.cpp"
    source.write_text(
        '#include "kernel_hook/protocol/handshake.hpp"\n#include <cstddef>\n#include <cstdio>\n'
        "using namespace tfusion::protocol;\nint main() {\n" + "\n".join(lines) + "\n}\n"
    )
    program = tmp_path / "layout"
    subprocess.run(["g++", "-std=c++20", "-I", str(ROOT), str(source), "-o", str(program)], check=True)
    found = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout.splitlines()
    expected = [f"Hello {name} {offset} {size}" for name, offset, size in handshake.HELLO_LAYOUT]
    expected += [f"Hello - {HELLO.size} 0"]
    expected += [f"Welcome {name} {offset} {size}" for name, offset, size in handshake.WELCOME_LAYOUT]
    expected += [f"Welcome - {WELCOME.size} 0"]
    expected += [f"status {status.name} {int(status)} 0" for status in WelcomeStatus]
    expected += [f"version - {handshake.PROTOCOL_VERSION} 0", "magic TFUSION 8 0"]
    assert found == expected


def test_layout_tables_are_the_structs() -> None:
    for struct, layout in ((HELLO, handshake.HELLO_LAYOUT), (WELCOME, handshake.WELCOME_LAYOUT)):
        end = 0
        for _, offset, size in layout:
            assert offset == end
            end += size
        assert end == struct.size


@pytest.mark.parametrize("observer", [False, True])
def test_a_hello_comes_back_as_it_was_sent(observer: bool) -> None:
    hello = Hello(4711, "0123456789abcdef", "f" * 64, "python3 é", observer)
    assert Hello.unpack(hello.pack()) == hello


@given(st.binary(min_size=HELLO.size, max_size=HELLO.size))
def test_random_bytes_are_no_hello(data: bytes) -> None:
    with pytest.raises(BadHello, match="did not begin"):
        Hello.unpack(b"x" + data[1:])


@pytest.mark.parametrize("size", [0, 1, HELLO.size - 1, HELLO.size + 1])
def test_a_hello_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(BadHello, match=f"{size} came"):
        Hello.unpack(bytes(size))


def test_another_protocol_version_is_named() -> None:
    data = bytearray(Hello(1, "s", "t", "p").pack())
    data[8] = 9
    with pytest.raises(BadHello, match=r"speaks protocol 9.*same version"):
        Hello.unpack(bytes(data))


@given(
    st.binary(min_size=64, max_size=64),
    st.binary(min_size=128, max_size=128),
    st.binary(min_size=64, max_size=64),
)
def test_any_field_content_gives_a_hello_or_a_sentence(slice_id: bytes, token: bytes, name: bytes) -> None:
    data = HELLO.pack(handshake.MAGIC, handshake.PROTOCOL_VERSION, 1, slice_id, token, name)
    try:
        hello = Hello.unpack(data)
    except BadHello as error:
        assert str(error).endswith(".")
    else:
        assert hello.process_name.isprintable()
        assert hello.slice_id.isascii()
        assert hello.token.isascii()


def test_control_characters_in_a_process_name_are_not_shown() -> None:
    data = HELLO.pack(handshake.MAGIC, handshake.PROTOCOL_VERSION, 1, b"s", b"t", b"\x1b[2Jevil\n")
    assert Hello.unpack(data).process_name == "?[2Jevil?"


def test_a_long_refusal_is_cut_at_a_character_and_stays_terminated() -> None:
    packed = Welcome(WelcomeStatus.WORKER_FAILED, "ä" * 400).pack()
    assert len(packed) == WELCOME.size
    assert packed[-1] == 0
    assert Welcome.unpack(packed).message == "ä" * 255
