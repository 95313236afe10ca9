"""What a learner sees in JupyterLab from the launcher to the end of a kernel."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from playwright.sync_api import expect

from .programs import HOLD, LARGE, SMALL, WORK

if TYPE_CHECKING:
    from .conftest import JupyterLab, Screen

LAB = Path(__file__).resolve().parents[2] / "examples" / "01-first-kernel-saxpy.ipynb"


def lab_cells_to(printed: str) -> str:
    """The code cells of the first lab notebook up to the one that prints this."""
    cells = [cell for cell in json.loads(LAB.read_text())["cells"] if cell["cell_type"] == "code"]
    sources = ["".join(cell["source"]) for cell in cells]
    last = next(number for number, source in enumerate(sources) if printed in source)
    return "\n\n".join(sources[: last + 1])


def test_a_learner_chooses_a_vgpu_kernel_and_sees_what_it_does(screen: Screen) -> None:
    screen.open_lab()
    sidebar = screen.open_sidebar()
    expect(sidebar).to_contain_text("No notebook uses a GPU now. Choose a kernel named vGPU in the launcher.")

    screen.launch(SMALL)
    card = screen.card(screen.notebook_name)
    expect(card).to_have_attribute("aria-current", "true")
    expect(card).to_contain_text("not used yet")
    expect(card).to_contain_text("0 B of 256 MiB used")
    expect(sidebar.locator(".jp-tfusion-gpu")).to_contain_text("Software GPU")

    screen.run_to_end(lab_cells_to("first values:"), "first values:")
    expect(card).to_contain_text("idle")
    expect(card).not_to_contain_text("0 B of 256 MiB used")
    expect(screen.page.locator(".jp-tfusion-status")).to_contain_text("idle")
    screen.picture("lab-sidebar")

    # One question at the start; all else came as events.
    assert screen.asked == ["GET state"]


def test_a_running_kernel_is_seen_to_run(screen: Screen) -> None:
    screen.open_lab()
    screen.open_sidebar()
    screen.launch(SMALL)
    screen.run_to_end(HOLD.format(megabytes=32), "holds 32")
    screen.run(WORK)
    card = screen.card(screen.notebook_name)
    expect(card).to_have_attribute("data-phase", "running")
    expect(card).to_contain_text("32 MiB of 256 MiB used")
    expect(card.locator(".jp-tfusion-spark-gpu")).to_be_visible()
    (screen.jupyter.root / "stop").touch()
    expect(card).to_have_attribute("data-phase", "idle")


def test_of_two_that_do_not_fit_one_waits_and_says_why(screen: Screen) -> None:
    screen.open_lab()
    sidebar = screen.open_sidebar()
    for _ in range(2):
        screen.launch(LARGE)
        screen.run_to_end(HOLD.format(megabytes=500), "holds 500")
        work = screen.run(WORK)
    waiting = sidebar.locator('.jp-tfusion-card[data-phase="waiting"]')
    expect(waiting.first.locator(".jp-tfusion-why")).not_to_be_empty()
    expect(waiting.first).to_contain_text("waiting")
    expect(sidebar.locator('.jp-tfusion-gpu[data-waiting="true"]')).to_contain_text("1 program waits.")
    screen.picture("lab-waiting")
    (screen.jupyter.root / "stop").touch()
    expect(work.locator(".jp-OutputArea")).to_contain_text("has stopped")


def test_gpu_memory_is_freed_and_comes_back_unchanged(screen: Screen) -> None:
    screen.open_lab()
    screen.open_sidebar()
    screen.launch(SMALL)
    screen.run_to_end(HOLD.format(megabytes=64) + "held.fill(7, stream=stream)\nstream.sync()\n", "holds 64")
    card = screen.card(screen.notebook_name)
    expect(card).to_have_attribute("data-phase", "idle")
    card.get_by_role("button", name="Free GPU memory").click()
    expect(card).to_have_attribute("data-phase", "swapped out")
    expect(card).to_contain_text("of it swapped out")
    screen.picture("card-swapped-out", card)

    card.get_by_role("button", name="Bring back").click()
    expect(card).to_have_attribute("data-phase", "idle")
    expect(card).not_to_contain_text("swapped out")

    card.get_by_role("button", name="Free GPU memory").click()
    expect(card).to_have_attribute("data-phase", "swapped out")
    back = """
import numpy as np
from cuda.bindings import driver
there = np.empty(64 << 20, np.uint8)
driver.cuMemcpyDtoH(there.ctypes.data, int(held.handle), there.nbytes)
print("as it was:", bool((there == 7).all()))
"""
    screen.run_to_end(back, "as it was: True")
    expect(card).to_have_attribute("data-phase", "idle")


def test_a_killed_worker_is_a_sentence_and_a_restart_mends_it(screen: Screen, jupyter: JupyterLab) -> None:
    screen.open_lab()
    screen.open_sidebar()
    screen.launch(SMALL)
    screen.run_to_end(HOLD.format(megabytes=16), "holds 16")
    name = screen.notebook_name
    card = screen.card(name)
    expect(card).to_have_attribute("data-phase", "idle")
    for worker in workers_with_clients(jupyter.daemon()):
        os.kill(worker.pid, signal.SIGKILL)
    expect(card).to_have_attribute("data-phase", "ended")
    expect(card.locator(".jp-tfusion-why")).not_to_be_empty()
    notification = screen.page.locator(".Toastify__toast").filter(has_text=name)
    expect(notification).to_be_visible()
    screen.picture("lab-ended")

    notification.get_by_role("button", name="Restart kernel").click()
    screen.page.locator(".jp-Dialog .jp-mod-accept").click()
    screen.wait_for_kernel()
    screen.run_to_end(HOLD.format(megabytes=16), "holds 16")
    expect(card).to_have_attribute("data-phase", "idle")


def workers_with_clients(daemon: psutil.Process) -> list[psutil.Process]:
    """The daemon's workers: those in use, and the warm ones, which nobody misses."""
    return [child for child in daemon.children() if "gpu_server.worker" in " ".join(child.cmdline())]


def test_a_server_that_stops_is_a_sentence_and_the_next_kernel_starts_another(
    screen: Screen, jupyter: JupyterLab
) -> None:
    screen.open_lab()
    sidebar = screen.open_sidebar()
    screen.launch(SMALL)
    first = screen.card(screen.notebook_name)
    expect(first).to_contain_text("not used yet")
    daemon = jupyter.daemon()
    daemon.kill()
    daemon.wait(timeout=60)
    expect(sidebar.locator(".jp-tfusion-hint").first).not_to_be_empty()
    screen.launch(SMALL)
    expect(screen.card(screen.notebook_name)).to_contain_text("not used yet")
    screen.run_to_end(HOLD.format(megabytes=16), "holds 16")


def test_gpu_work_is_ended_after_a_question_and_the_kernel_stays(screen: Screen) -> None:
    screen.open_lab()
    screen.open_sidebar()
    screen.launch(SMALL)
    screen.run_to_end("kept = 'kept'\n" + HOLD.format(megabytes=16), "holds 16")
    card = screen.card(screen.notebook_name)
    card.get_by_role("button", name="End GPU work").click()
    dialog = screen.page.locator(".jp-Dialog")
    expect(dialog).to_contain_text("What it holds on the GPU is lost")
    dialog.get_by_role("button", name="End GPU Work").click()
    expect(card).to_have_attribute("data-phase", "ended")
    expect(card.locator(".jp-tfusion-why")).not_to_be_empty()
    screen.run_to_end("print(kept, 'all the same')", "kept all the same")


def test_the_running_panel_lists_slices(screen: Screen) -> None:
    screen.open_lab()
    screen.launch(SMALL)
    name = screen.notebook_name
    screen.page.locator('.lm-TabBar-tab[data-id="jp-running-sessions"]').click()
    panel = screen.page.locator("#jp-running-sessions")
    expect(panel).to_contain_text("GPU slices")
    item = panel.locator(".jp-RunningSessions-item").filter(has_text="not used yet, 0 B")
    expect(item).to_contain_text(name)


def test_the_state_can_be_hidden_from_the_status_bar(screen: Screen) -> None:
    screen.open_lab()
    screen.launch(SMALL)
    status = screen.page.locator(".jp-tfusion-status")
    expect(status).to_contain_text("256 MiB")
    expect(status).to_be_visible()
    screen.page.evaluate(
        """on => jupyterapp.serviceManager.settings.save(
             '@jupyter-tfusion/labextension:plugin', JSON.stringify({statusItem: on}))""",
        False,
    )
    screen.page.reload()
    expect(screen.notebook).to_be_visible()
    expect(status).to_be_hidden()
    screen.page.evaluate(
        "() => jupyterapp.serviceManager.settings.save('@jupyter-tfusion/labextension:plugin', '{}')"
    )
