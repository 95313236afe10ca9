"""What a teacher sees and does: everybody's slices, who was on the GPU when, and the same actions as on one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

from .programs import HOLD, LARGE, SMALL, WORK

if TYPE_CHECKING:
    from .conftest import Screen


def test_a_learner_has_no_view_of_the_host(screen: Screen) -> None:
    screen.open_lab()
    sidebar = screen.open_sidebar()
    expect(sidebar).to_contain_text("Your kernels")
    expect(sidebar.get_by_role("button", name="All slices of this host")).to_have_count(0)
    expect(screen.page.locator('.jp-LauncherCard[title*="GPUs of this host"]')).to_have_count(0)


def test_a_teacher_sees_all_slices_and_helps(teachers_screen: Screen) -> None:
    screen = teachers_screen
    screen.open_lab()
    sidebar = screen.open_sidebar()
    screen.launch(SMALL)
    screen.run_to_end(HOLD.format(megabytes=64), "holds 64")
    idle = screen.notebook_name
    for _ in range(2):
        screen.launch(LARGE)
        screen.run_to_end(HOLD.format(megabytes=400), "holds 400")
        screen.run(WORK)
    sidebar.get_by_role("button", name="All slices of this host").click()

    view = screen.page.locator("#jp-tfusion-host")
    rows = view.locator("tbody tr")
    expect(rows).to_have_count(3)
    # Those first who hold most of the GPU; the idle one made room for those who compute.
    expect(rows.last).to_contain_text(idle)
    for phase in ("running", "waiting"):
        expect(view.locator(f'figure svg rect[data-phase="{phase}"]').first).to_be_attached()
    expect(view.locator("figure").get_by_role("img", name=f"{idle} ran")).to_be_visible()
    screen.picture("teacher")
    assert screen.serious_barriers("#jp-tfusion-host") == []
    screen.theme("JupyterLab Dark")
    assert screen.serious_barriers("#jp-tfusion-host") == []
    screen.theme("JupyterLab Light")
    (screen.jupyter.root / "stop").touch()

    view.get_by_role("button", name="Idle").click()
    expect(rows.first).to_contain_text(idle)
    row = rows.filter(has_text=idle)
    row.get_by_role("button", name="Bring back:").click()
    expect(row).to_have_attribute("data-phase", "idle")
    row.get_by_role("button", name="Free memory:").click()
    expect(row).to_have_attribute("data-phase", "swapped out")
    row.get_by_role("button", name="End GPU work:").click()
    screen.page.locator(".jp-Dialog .jp-mod-accept").click()
    expect(row).to_have_attribute("data-phase", "ended")


def test_in_notebook_the_teachers_view_is_at_the_right_side(teachers_screen: Screen) -> None:
    screen = teachers_screen
    screen.jupyter.write_notebook("seven.ipynb", "python3-vgpu")
    screen.page.goto(f"{screen.jupyter.url}notebooks/seven.ipynb?token={screen.jupyter.token}")
    screen.wait_for_kernel()
    screen.page.locator(".jp-tfusion-status").get_by_role("button").click()
    screen.page.get_by_role("button", name="All slices of this host").click()
    view = screen.page.locator("#jp-tfusion-host")
    expect(view.locator("tbody tr")).to_contain_text("seven.ipynb")
    expect(view.locator("tbody tr")).to_contain_text("not used yet")
