"""The environment under a slice, and the server's own, which is under none."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import kernel_hook
from gpu_server.server_environment import server_environment

HOOK = Path("/opt/tfusion/lib/libcuda.so.1")


def launch(base: dict[str, str]) -> dict[str, str]:
    return kernel_hook.launch_environment(
        base, session_socket="/run/s.sock", slice_id="id", token="t0", library=HOOK, python="/opt/python3"
    )


def test_a_program_finds_the_hook_in_every_way() -> None:
    assert launch({"HOME": "/home/ada", "PATH": "/usr/bin"}) == {
        "HOME": "/home/ada",
        "PATH": f"{kernel_hook.PROGRAMS}:/usr/bin",
        "TFUSION_PYTHON": "/opt/python3",
        "TFUSION_SOCKET": "/run/s.sock",
        "TFUSION_SLICE": "id",
        "TFUSION_TOKEN": "t0",
        "LD_PRELOAD": str(HOOK),
        "LD_LIBRARY_PATH": "/opt/tfusion/lib",
        "TRITON_LIBCUDA_PATH": "/opt/tfusion/lib",
        "NUMBA_CUDA_DRIVER": str(HOOK),
    }


def test_nvml_learns_what_the_slice_is_and_nothing_of_an_outer_slice() -> None:
    outer = {"TFUSION_VRAM_BYTES": "1", "TFUSION_GPU_NAME": "Other", "TFUSION_DRIVER_VERSION": "570.1"}
    environment = kernel_hook.launch_environment(
        outer,
        session_socket="s",
        slice_id="i",
        token="t",
        library=HOOK,
        vram_bytes=4 << 30,
        gpu_name="NVIDIA H200",
    )
    facts = {name: environment.get(name) for name in kernel_hook.NVML_VARIABLES}
    assert facts == {
        "TFUSION_VRAM_BYTES": "4294967296",
        "TFUSION_GPU_NAME": "NVIDIA H200",
        "TFUSION_DRIVER_VERSION": None,
    }


@pytest.mark.parametrize("preload", ["a.so b.so", "a.so:b.so", f"a.so:{HOOK} b.so"])
def test_ours_is_first_once_and_others_stay(preload: str) -> None:
    environment = launch({"LD_PRELOAD": preload, "LD_LIBRARY_PATH": "/x:/opt/tfusion/lib::/y"})
    assert environment["LD_PRELOAD"] == f"{HOOK}:a.so:b.so"
    assert environment["LD_LIBRARY_PATH"] == "/opt/tfusion/lib:/x:/y"


def test_nvidia_smi_is_ours_and_shadows_nothing_else() -> None:
    assert [program.name for program in kernel_hook.PROGRAMS.iterdir()] == ["nvidia-smi"]
    assert shutil.which("nvidia-smi", path=launch({"PATH": "/bin"})["PATH"]) == str(
        kernel_hook.PROGRAMS / "nvidia-smi"
    )


def test_without_a_python_that_could_run_it_the_path_stays() -> None:
    environment = kernel_hook.launch_environment(
        {"PATH": "/bin"}, session_socket="s", slice_id="i", token="t", library=HOOK, python=""
    )
    assert environment["PATH"] == "/bin"
    assert "TFUSION_PYTHON" not in environment


def test_applied_twice_it_changes_nothing_more() -> None:
    once = launch({"PATH": "/bin", "LD_PRELOAD": "a.so"})
    assert launch(once) == once


def test_the_base_is_left_as_it_was() -> None:
    base = {"LD_PRELOAD": "a.so", "CUDA_VISIBLE_DEVICES": "3"}
    launch(base)
    assert base == {"LD_PRELOAD": "a.so", "CUDA_VISIBLE_DEVICES": "3"}


@pytest.mark.parametrize(("visible", "kept"), [("3", None), ("GPU-abc", None), ("", ""), ("-1", "-1")])
def test_the_hosts_device_choice_does_not_hide_the_virtual_gpu(visible: str, kept: str | None) -> None:
    assert launch({"CUDA_VISIBLE_DEVICES": visible}).get("CUDA_VISIBLE_DEVICES") == kept


def test_a_path_that_cannot_be_preloaded_is_refused() -> None:
    with pytest.raises(ValueError, match="space or colon"):
        kernel_hook.launch_environment(
            {}, session_socket="s", slice_id="i", token="t", library=Path("/my files/libcuda.so.1")
        )


def test_the_library_is_the_named_one_or_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = tmp_path / "libcuda.so.1"
    built.write_bytes(b"")
    monkeypatch.setenv("TFUSION_HOOK_LIB", str(built))
    assert kernel_hook.library_path() == built
    monkeypatch.setenv("TFUSION_HOOK_LIB", str(tmp_path / "gone"))
    with pytest.raises(kernel_hook.HookMissing, match="TFUSION_HOOK_LIB is .*gone"):
        kernel_hook.library_path()


def test_the_servers_own_processes_run_under_no_slice() -> None:
    under = launch({"PATH": "/bin", "LD_LIBRARY_PATH": "/keep", "CUDA_VISIBLE_DEVICES": "0"})
    clean = server_environment(under)
    clean.pop("PYTHONPATH", None)
    assert clean == {"PATH": "/bin", "LD_LIBRARY_PATH": "/keep"}


def test_on_the_software_gpu_cupy_compiles_to_ptx_unless_told_otherwise() -> None:
    def software(base: dict[str, str]) -> dict[str, str]:
        return kernel_hook.launch_environment(
            base, session_socket="s", slice_id="i", token="t", library=HOOK, software=True
        )

    assert software({})["CUPY_COMPILE_WITH_PTX"] == "1"
    assert software({})["CUPY_ACCELERATORS"] == ""
    assert software({"CUPY_ACCELERATORS": "cub"})["CUPY_ACCELERATORS"] == "cub"
