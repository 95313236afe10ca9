"""Profiles: what they may be, where they come from, and the kernelspecs that are made of them."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.kernelspec import KernelSpecManager

import jupyter_tfusion.profiles as profiles_module
from gpu_server.sizes import GIB, MIB
from gpu_server.slice_sizes import sizes_for
from jupyter_tfusion.kernelspec import (
    KernelSpecError,
    install_kernelspec,
    install_profiles,
    installed_kernelspecs,
)
from jupyter_tfusion.kernelspec_command import KernelSpecCommand
from jupyter_tfusion.profiles import ChosenProfiles, Profile, ProfileError, choose_profiles

THREE = ChosenProfiles(
    (Profile("small", "1GiB"), Profile("medium", "2GiB"), Profile("large", "8GiB")), "medium", ""
)


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    return str(tmp_path / "prefix")


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles_module, "_host_gpus", list)


@pytest.fixture
def add_host_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A kernelspec of the host, found before those of this environment."""
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "host"))

    def add(name: str, display_name: str, language: str = "python", **more: Any) -> Path:
        folder = tmp_path / "host" / "kernels" / name
        folder.mkdir(parents=True)
        argv = [f"/opt/{name}/bin/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        spec = {"argv": argv, "display_name": display_name, "language": language, **more}
        (folder / "kernel.json").write_text(json.dumps(spec))
        return folder

    return add


def write_config(tmp_path: Path, text: str, name: str = "jupyter_tfusion_config.py") -> Path:
    file = tmp_path / name
    file.write_text(text)
    return file


def read_spec(folder: Path) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads((folder / "kernel.json").read_text())
    return spec


def names(prefix: str) -> list[str]:
    return [spec.name for spec in installed_kernelspecs(prefix)]


# -- which there are


@pytest.mark.parametrize(
    ("memory", "sizes"),
    [
        (1 * GIB, (128 * MIB, 256 * MIB, 512 * MIB)),
        (768 * MIB, (64 * MIB, 128 * MIB, 256 * MIB)),
        (16 * GIB, (1 * GIB, 2 * GIB, 4 * GIB)),
        (24 * GIB, (1 * GIB, 2 * GIB, 4 * GIB)),
        (80 * GIB, (2 * GIB, 4 * GIB, 16 * GIB)),
        (141 * GIB, (4 * GIB, 8 * GIB, 32 * GIB)),
        (16 * MIB, (16 * MIB, 16 * MIB, 16 * MIB)),
    ],
)
def test_sizes_go_by_the_gpus_memory(memory: int, sizes: tuple[int, int, int]) -> None:
    found = sizes_for(memory)
    assert (found.small, found.medium, found.large) == sizes


def test_without_configuration_and_gpu_they_are_those_of_the_software_gpu(no_gpu: None) -> None:
    chosen = choose_profiles()
    assert [(p.name, p.vram) for p in chosen.profiles] == [
        ("small", "128MiB"), ("medium", "256MiB"), ("large", "512MiB")
    ]  # fmt: skip
    assert chosen.default == "medium"
    assert "the software GPU" in chosen.origin


def test_without_a_daemon_they_go_by_the_smallest_gpu_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles_module, "_host_gpus", lambda: [(141 * GIB, "H200"), (80 * GIB, "H100")])
    chosen = choose_profiles()
    assert [p.vram for p in chosen.profiles] == ["2GiB", "4GiB", "16GiB"]
    assert chosen.origin == "H100 (80.0 GiB) of this machine"


def test_a_daemon_that_runs_knows_better(daemon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles_module, "_host_gpus", lambda: [(80 * GIB, "H100")])
    chosen = choose_profiles(server=str(daemon.socket))
    assert [p.vram for p in chosen.profiles] == ["128MiB", "256MiB", "512MiB"]
    assert "of the running GPU server" in chosen.origin


def test_asking_starts_no_daemon(tmp_path: Path, no_gpu: None) -> None:
    choose_profiles()
    assert not (tmp_path / "tfusion").exists()


def test_they_come_from_jupyters_configuration_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(
        Path(os.environ["JUPYTER_CONFIG_DIR"]),
        "c.KernelProfiles.profiles = [\n"
        "    {'name': 'course', 'vram': '3GiB', 'title': 'CUDA course', 'share': 2, 'ceiling': 0.5,\n"
        "     'limits': {'dead_kernel_grace_s': 5}},\n"
        "    {'name': 'exam', 'vram': '1GiB'},\n"
        "]\n",
    )
    chosen = choose_profiles()
    course, exam = chosen.profiles
    assert course.settings() == {"vram": "3GiB", "share": 2, "ceiling": 0.5, "dead_kernel_grace_s": 5}
    assert (course.shown, exam.shown) == ("CUDA course", "vGPU 1 GiB")
    assert chosen.default == "course"  # the first, as there is no "medium"


def test_they_may_be_written_as_json(tmp_path: Path) -> None:
    both = [{"name": "a", "vram": "1GiB"}, {"name": "b", "vram": "2GiB"}]
    text = json.dumps({"KernelProfiles": {"profiles": both, "default": "b"}})
    file = write_config(tmp_path, text, "jupyter_tfusion_config.json")
    assert choose_profiles(file).default == "b"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[{'vram': '1GiB'}]", "has no 'name'"),
        ("[{'name': 'a'}]", "has no 'vram'"),
        ("[{'name': 'A b', 'vram': '1GiB'}]", "small letters"),
        ("[{'name': 'a', 'vram': 'lots'}]", "'lots' is not a size"),
        ("[{'name': 'a', 'vram': '1GiB', 'share': 0}]", "must be more than 0"),
        ("[{'name': 'a', 'vram': '1GiB', 'share': 'big'}]", "must be more than 0"),
        ("[{'name': 'a', 'vram': '1GiB', 'ceiling': 25}]", "a part of the GPU's time"),
        ("[{'name': 'a', 'vram': '1GiB', 'memory': 1}]", "sets 'memory', which does not exist"),
        ("[{'name': 'a', 'vram': '1GiB', 'limits': {'hours': 1}}]", "limit 'hours', which does not exist"),
        ("[{'name': 'a', 'vram': '1GiB', 'limits': {'dead_kernel_grace_s': -1}}]", "cannot be"),
        ("[{'name': 'a', 'vram': '1GiB'}, {'name': 'a', 'vram': '2GiB'}]", "two profiles are called 'a'"),
        ("'small'", "small"),
    ],
)
def test_what_cannot_be_is_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    file = write_config(tmp_path, f"c.KernelProfiles.profiles = {text}")
    with pytest.raises(ProfileError, match=sentence):
        choose_profiles(file)


@pytest.mark.parametrize("text", ["c.KernelProfiles.profile = []", "1 / 0", "c ="])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    file = write_config(tmp_path, text)
    with pytest.raises(ProfileError, match=str(file)):
        choose_profiles(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="does not exist"):
        choose_profiles(tmp_path / "nothing.py")


# -- the kernelspecs


def test_each_profile_becomes_a_kernel_and_the_default_one_has_the_short_name(prefix: str) -> None:
    install_profiles(THREE, prefix=prefix, server="/run/gpu.sock")
    found = {spec.name: spec for spec in installed_kernelspecs(prefix)}
    assert {name: spec.display_name for name, spec in found.items()} == {
        "python3-vgpu": "Python 3 (vGPU 2 GiB)",
        "python3-vgpu-small": "Python 3 (vGPU 1 GiB)",
        "python3-vgpu-large": "Python 3 (vGPU 8 GiB)",
    }
    assert (found["python3-vgpu-large"].profile, found["python3-vgpu-large"].base) == ("large", "python3")
    spec = read_spec(Path(prefix, "share/jupyter/kernels/python3-vgpu-small"))
    base = KernelSpecManager().get_kernel_spec("python3")
    assert spec["argv"] == base.argv
    assert spec["metadata"]["debugger"] == base.metadata["debugger"]
    assert spec["metadata"]["supported_encryption"] == base.metadata["supported_encryption"]
    assert spec["metadata"]["kernel_provisioner"] == {
        "provisioner_name": "tfusion-provisioner",
        "config": {"vram": "1GiB", "share": 1.0, "server": "/run/gpu.sock"},
    }


def test_every_python_kernel_of_the_host_gets_them_and_no_other(
    prefix: str, add_host_kernel: Callable[..., Path]
) -> None:
    add_host_kernel("course", "Course")
    add_host_kernel("torch", "Python 3.12 (torch)", metadata={"debugger": True})
    add_host_kernel("julia", "Julia", language="julia")
    add_host_kernel(
        "remote", "Remote", metadata={"kernel_provisioner": {"provisioner_name": "local-provisioner"}}
    )
    install_kernelspec(prefix=prefix, name="mine")  # one of ours is no base
    one = ChosenProfiles((Profile("only", "1GiB"),), "only", "")
    install_profiles(one, prefix=prefix)
    assert names(prefix) == ["course-vgpu", "mine", "python3-vgpu", "torch-vgpu"]
    shown = {spec.name: spec.display_name for spec in installed_kernelspecs(prefix)}
    assert shown["course-vgpu"] == "Course (vGPU 1 GiB)"
    assert shown["torch-vgpu"] == "Python 3.12 (torch, vGPU 1 GiB)"
    torch = read_spec(Path(prefix, "share/jupyter/kernels/torch-vgpu"))
    assert torch["argv"][0] == "/opt/torch/bin/python"
    assert torch["metadata"]["debugger"] is True


def test_installing_again_changes_nothing(prefix: str) -> None:
    def contents() -> dict[str, bytes]:
        install_profiles(THREE, prefix=prefix)
        return {str(path): path.read_bytes() for path in Path(prefix).rglob("*") if path.is_file()}

    assert contents() == contents()


def test_other_profiles_take_the_place_of_earlier_ones_and_of_no_other_kernel(prefix: str) -> None:
    install_profiles(THREE, prefix=prefix)
    install_kernelspec(prefix=prefix, name="by-hand", vram="3GiB")
    install_profiles(ChosenProfiles((Profile("huge", "64GiB"),), "huge", ""), prefix=prefix)
    assert names(prefix) == ["by-hand", "python3-vgpu"]
    assert (
        read_spec(Path(prefix, "share/jupyter/kernels/python3-vgpu"))["display_name"]
        == "Python 3 (vGPU 64 GiB)"
    )


def test_a_foreign_kernel_of_one_of_the_names_stops_all(prefix: str) -> None:
    foreign = Path(prefix, "share/jupyter/kernels/python3-vgpu-large")
    foreign.mkdir(parents=True)
    (foreign / "kernel.json").write_text(json.dumps({"argv": ["x"], "display_name": "X", "language": "x"}))
    with pytest.raises(KernelSpecError, match="not a vGPU kernelspec"):
        install_profiles(THREE, prefix=prefix)
    assert names(prefix) == []


def test_a_kernel_of_the_wheel_is_replaced(prefix: str) -> None:
    folder = Path(prefix, "share/jupyter/kernels/python3-vgpu")
    folder.mkdir(parents=True)
    resources = Path(profiles_module.__file__).parent / "kernel_resources"
    (folder / "kernel.json").write_bytes((resources / "kernel.json").read_bytes())
    (before,) = installed_kernelspecs(prefix)
    assert (before.display_name, before.vram) == ("Python 3 (vGPU)", "")
    install_profiles(THREE, prefix=prefix)
    assert read_spec(folder)["display_name"] == "Python 3 (vGPU 2 GiB)"


# -- the command


def run_command(*args: str) -> int:
    command = KernelSpecCommand()
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(args))


def test_the_command_installs_the_profiles_and_removes_all(
    prefix: str, no_gpu: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("install", "--prefix", prefix) == 0
    assert "Profiles of the software GPU" in capsys.readouterr().out
    assert names(prefix) == ["python3-vgpu", "python3-vgpu-large", "python3-vgpu-small"]
    assert run_command("list", "--prefix", prefix) == 0
    assert "python3-vgpu-large  512MiB  share 1  large" in capsys.readouterr().out
    assert run_command("remove", "--all", "--prefix", prefix) == 0
    assert names(prefix) == []
    assert run_command("remove", "--all", "--prefix", prefix) == 0
    assert "No vGPU kernel is installed" in capsys.readouterr().out


def test_options_of_one_kernel_and_profiles_exclude_each_other(
    prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_config(tmp_path, "c.KernelProfiles.profiles = [{'name': 'a', 'vram': '1GiB'}]")
    assert run_command("install", "--prefix", prefix, "--config", str(file), "--vram", "2GiB") == 1
    assert "Leave out one or the other" in capsys.readouterr().err
    assert run_command("install", "--prefix", prefix, "--config", str(file)) == 0
    assert names(prefix) == ["python3-vgpu"]
    assert run_command("remove", "--prefix", prefix, "--all", "python3-vgpu") == 1
