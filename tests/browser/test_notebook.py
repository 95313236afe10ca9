"""Notebook 7: one notebook a page, no status bar, no launcher; the same state at its places there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from .conftest import JupyterLab, Screen


def test_notebook_shows_the_state_beside_the_kernel_and_the_panel_at_the_side(
    screen: Screen, jupyter: JupyterLab
) -> None:
    jupyter.write_notebook("seven.ipynb", "python3-vgpu")
    screen.page.goto(f"{jupyter.url}notebooks/seven.ipynb?token={jupyter.token}")
    screen.wait_for_kernel()
    status = screen.page.locator(".jp-tfusion-status")
    expect(status).to_contain_text("256 MiB, not used yet")

    status.get_by_role("button").click()
    card = screen.card("seven.ipynb")
    expect(card).to_be_visible()
    screen.run_to_end(
        "from cuda.core import Device\nDevice().set_current()\nprint('on the GPU')", "on the GPU"
    )
    expect(card).to_have_attribute("data-phase", "idle")
    expect(status).to_contain_text("idle")
    screen.picture("notebook")
    assert screen.serious_barriers("#jp-tfusion-sidebar") == []


def test_the_file_page_of_notebook_lists_slices_among_the_running(
    screen: Screen, jupyter: JupyterLab
) -> None:
    screen.page.goto(f"{jupyter.url}tree?token={jupyter.token}")
    screen.page.get_by_role("tab", name="Running").click()
    expect(screen.page.locator(".jp-RunningSessions")).to_contain_text("GPU slices")
