"""The lab notebooks of examples/: each runs to its end under a slice, and is committed as learners should get it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from gpu_server.client import ControlClient
from jupyter_tfusion.kernelspec import DEFAULT_KERNEL_NAME, install_kernelspec

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
LABS = sorted(EXAMPLES.glob("*.ipynb"))


@pytest.fixture(scope="session")
def jupyter(tmp_path_factory: pytest.TempPathFactory, software_daemon: ControlClient) -> dict[str, str]:
    """The environment of a Jupyter whose vGPU kernels have 256 MiB of the software GPU."""
    folder = tmp_path_factory.mktemp("jupyter")
    install_kernelspec(prefix=str(folder), server=str(software_daemon.socket), vram="256MiB")
    environment = {**os.environ, "JUPYTER_PATH": str(folder / "share" / "jupyter"), "JUPYTER_NO_CONFIG": "1"}
    for name in ("JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "MPLCONFIGDIR"):
        environment[name] = str(folder / name.lower())
    return environment


def test_there_are_labs() -> None:
    assert len(LABS) >= 5


@pytest.mark.timeout(300)
@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.stem)
def test_the_lab_runs_with_jupyter_execute(lab: Path, jupyter: dict[str, str], tmp_path: Path) -> None:
    copy = tmp_path / lab.name
    copy.write_bytes(lab.read_bytes())
    jupyter_program = str(Path(sys.executable).with_name("jupyter"))
    done = subprocess.run(
        [jupyter_program, "execute", f"--kernel_name={DEFAULT_KERNEL_NAME}", "--inplace", str(copy)],
        env=jupyter,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    executed = nbformat.read(copy, as_version=4)
    last = "".join(output.get("text", "") for output in executed.cells[-1].outputs)
    assert "checks out" in last
    problems = [
        output["text"]
        for cell in executed.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.get("name") == "stderr"
    ]
    assert problems == []


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.stem)
def test_the_lab_is_committed_clean_and_for_the_vgpu_kernel(lab: Path) -> None:
    notebook = nbformat.read(lab, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == DEFAULT_KERNEL_NAME
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.stem)
def test_the_lab_has_exercises_with_folded_solutions_and_checks_itself(lab: Path) -> None:
    notebook = nbformat.read(lab, as_version=4)
    tagged = {
        tag: [c for c in notebook.cells if tag in c.metadata.get("tags", [])]
        for tag in ("exercise", "solution")
    }
    assert len(tagged["exercise"]) == len(tagged["solution"]) == 2
    for cell in tagged["solution"]:
        assert cell.metadata.jupyter.source_hidden
        assert "assert" in cell.source
    assert "assert" in notebook.cells[-1].source
    assert notebook.cells[0].cell_type == "markdown"


def test_the_labs_share_one_set_of_tools() -> None:
    """A learner who has read the tools once need not wonder whether they differ."""
    tools = set()
    for lab in LABS:
        notebook = nbformat.read(lab, as_version=4)
        tools |= {cell.source for cell in notebook.cells if "def to_device" in cell.source}
    assert len(tools) == 1
