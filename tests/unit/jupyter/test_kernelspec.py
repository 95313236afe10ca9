"""The vGPU kernelspec: what it keeps of the host's, what it adds, and that nobody else's kernel is touched."""

from __future__ import annotations

import argparse
import json
import struct
import sys
from importlib.metadata import entry_points
from pathlib import Path
from xml.etree import ElementTree

import pytest
from jupyter_client.kernelspec import KernelSpecManager

from jupyter_tfusion.kernelspec import (
    DEFAULT_KERNEL_NAME,
    KernelSpecError,
    install_kernelspec,
    installed_kernelspecs,
    remove_kernelspec,
)
from jupyter_tfusion.kernelspec_command import KernelSpecCommand


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    return str(tmp_path / "prefix")


def read_spec(folder: Path) -> dict:
    return json.loads((folder / "kernel.json").read_text())


def run_command(*args: str) -> int:
    command = KernelSpecCommand()
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(args))


def test_the_kernelspec_keeps_what_the_host_kernel_has(prefix: str) -> None:
    base = KernelSpecManager().get_kernel_spec("python3")
    spec = read_spec(install_kernelspec(prefix=prefix))
    assert spec["argv"] == base.argv
    assert spec["language"] == "python"
    assert spec["interrupt_mode"] == base.interrupt_mode
    for key, value in base.metadata.items():
        if key != "kernel_provisioner":
            assert spec["metadata"][key] == value


def test_a_host_kernel_with_environment_and_message_interrupts_stays_so(
    prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = tmp_path / "jupyter" / "kernels" / "python3"
    host.mkdir(parents=True)
    (host / "kernel.json").write_text(
        json.dumps(
            {
                "argv": ["/opt/course/bin/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
                "display_name": "Course",
                "language": "python",
                "interrupt_mode": "message",
                "env": {"COURSE": "cuda-101"},
                "metadata": {"debugger": False, "supported_encryption": ["curve"]},
            }
        )
    )
    (host / "logo-64x64.png").write_bytes(b"the course's logo")
    (host / "kernel.js").write_text("what the classic notebook loads")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    folder = install_kernelspec(prefix=prefix, vram="8GiB", share=2.0, server="/run/gpu.sock")
    spec = read_spec(folder)
    assert spec["argv"][0] == "/opt/course/bin/python"
    assert spec["interrupt_mode"] == "message"
    assert spec["env"] == {"COURSE": "cuda-101"}
    assert spec["metadata"] == {
        "debugger": False,
        "supported_encryption": ["curve"],
        "kernel_provisioner": {
            "provisioner_name": "tfusion-provisioner",
            "config": {"vram": "8GiB", "share": 2.0, "server": "/run/gpu.sock"},
        },
    }
    assert (folder / "kernel.js").read_text() == "what the classic notebook loads"
    assert (
        folder / "logo-64x64.png"
    ).read_bytes() != b"the course's logo"  # learners must tell the two apart


@pytest.mark.parametrize(
    ("vram", "shown"), [("4GiB", "4 GiB"), ("512MiB", "512 MiB"), ("1.5GiB", "1.5 GiB"), ("6G", "6 GiB")]
)
def test_the_display_name_says_how_large_the_slice_is(prefix: str, vram: str, shown: str) -> None:
    assert (
        read_spec(install_kernelspec(prefix=prefix, vram=vram))["display_name"] == f"Python 3 (vGPU {shown})"
    )


def test_installing_twice_leaves_one_kernelspec_with_the_later_settings(prefix: str) -> None:
    first = install_kernelspec(prefix=prefix)
    (first / "stale-file").write_text("of the first installation")
    second = install_kernelspec(prefix=prefix, vram="2GiB")
    assert second == first
    assert not (second / "stale-file").exists()
    assert [spec.vram for spec in installed_kernelspecs(prefix)] == ["2GiB"]


def test_installing_the_same_twice_gives_the_same_files(prefix: str) -> None:
    def contents() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in install_kernelspec(prefix=prefix).iterdir()}

    assert contents() == contents()


def test_a_name_in_capitals_is_the_kernel_of_that_name_in_small_letters(prefix: str) -> None:
    assert install_kernelspec(prefix=prefix, name="Big-GPU").name == "big-gpu"


def test_a_foreign_kernelspec_is_neither_replaced_nor_removed(prefix: str) -> None:
    foreign = Path(prefix, "share/jupyter/kernels/python3-vgpu")
    foreign.mkdir(parents=True)
    before = json.dumps({"argv": ["julia"], "display_name": "Julia", "language": "julia"})
    (foreign / "kernel.json").write_text(before)
    with pytest.raises(KernelSpecError, match="not a vGPU kernelspec"):
        install_kernelspec(prefix=prefix)
    with pytest.raises(KernelSpecError, match="not a vGPU kernelspec"):
        remove_kernelspec("python3-vgpu", prefix)
    assert (foreign / "kernel.json").read_text() == before


def test_only_vgpu_kernelspecs_are_listed(prefix: str) -> None:
    other = Path(prefix, "share/jupyter/kernels/plain")
    other.mkdir(parents=True)
    (other / "kernel.json").write_text(
        json.dumps({"argv": ["x"], "display_name": "Plain", "language": "python"})
    )
    install_kernelspec(prefix=prefix, name="small", vram="1GiB")
    install_kernelspec(prefix=prefix, name="large", vram="16GiB", share=4)
    assert [(spec.name, spec.vram, spec.share) for spec in installed_kernelspecs(prefix)] == [
        ("large", "16GiB", 4.0),
        ("small", "1GiB", 1.0),
    ]


def test_removing_removes_the_folder(prefix: str) -> None:
    folder = install_kernelspec(prefix=prefix)
    assert remove_kernelspec(DEFAULT_KERNEL_NAME, prefix) == folder
    assert not folder.exists()
    with pytest.raises(KernelSpecError, match="no kernelspec 'python3-vgpu'"):
        remove_kernelspec(DEFAULT_KERNEL_NAME, prefix)


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ({"vram": "lots"}, "'lots' is not a size"),
        ({"vram": "0"}, "cannot run anything"),
        ({"share": 0.0}, "must be more than 0"),
        ({"share": float("nan")}, "must be more than 0"),
        ({"user": True}, "not both"),
    ],
)
def test_settings_that_cannot_be_are_refused_and_nothing_is_written(
    prefix: str, option: dict, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        install_kernelspec(prefix=prefix, **option)
    assert not Path(prefix).exists()


def test_the_logo_is_a_drawing_and_two_pictures_of_it(prefix: str) -> None:
    folder = install_kernelspec(prefix=prefix)
    root = ElementTree.fromstring((folder / "logo-svg.svg").read_text())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    for size in (32, 64):
        picture = (folder / f"logo-{size}x{size}.png").read_bytes()
        assert picture[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", picture[16:24]) == (size, size)


def test_the_command_installs_lists_and_removes(prefix: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run_command(
            "install", "--prefix", prefix, "--vram", "2GiB", "--share", "0.5", "--display-name", "Mine"
        )
        == 0
    )
    assert run_command("list", "--prefix", prefix, "--json") == 0
    printed = capsys.readouterr().out
    (row,) = json.loads(printed[printed.index("[") :])
    assert row["name"] == "python3-vgpu"
    assert row["display_name"] == "Mine"
    assert row["share"] == 0.5
    assert run_command("remove", "--prefix", prefix) == 0
    assert run_command("list", "--prefix", prefix) == 0
    assert "No vGPU kernel is installed" in capsys.readouterr().out


def test_the_command_answers_a_mistake_with_one_sentence_and_status_1(
    prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("install", "--prefix", prefix, "--vram", "many") == 1
    error = capsys.readouterr().err
    assert "'many' is not a size" in error
    assert "Traceback" not in error


def test_without_a_destination_the_kernel_goes_into_this_python_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert install_kernelspec().is_relative_to(tmp_path)


def test_the_user_folder_is_jupyters_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    assert install_kernelspec(user=True) == tmp_path / "kernels" / "python3-vgpu"


def test_the_command_is_registered_for_the_tfusion_program() -> None:
    (entry,) = entry_points(group="tfusion.commands", name="kernelspec")
    assert entry.load() is KernelSpecCommand
