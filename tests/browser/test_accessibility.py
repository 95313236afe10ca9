"""The panel by keyboard and to a screen reader, in light and dark: axe finds nothing serious."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from .programs import SMALL

if TYPE_CHECKING:
    from .conftest import Screen


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark", "JupyterLab Dark High Contrast"])
def test_the_sidebar_has_no_serious_barrier(screen: Screen, theme: str) -> None:
    screen.open_lab()
    sidebar = screen.open_sidebar()
    screen.theme(theme)
    assert screen.serious_barriers("#jp-tfusion-sidebar") == []
    screen.launch(SMALL)
    card = screen.card(screen.notebook_name)
    expect(card).to_contain_text("not used yet")
    assert screen.serious_barriers("#jp-tfusion-sidebar") == []
    assert screen.serious_barriers(".jp-tfusion-status") == []
    if theme == "JupyterLab Dark":
        screen.picture("sidebar-dark", sidebar)
    screen.theme("JupyterLab Light")


def test_a_card_is_reached_and_used_by_keyboard(screen: Screen) -> None:
    screen.open_lab()
    screen.open_sidebar()
    screen.launch(SMALL)
    card = screen.card(screen.notebook_name)
    button = card.get_by_role("button", name="Restart kernel")
    card.get_by_role("button").first.focus()
    for _ in range(card.get_by_role("button").count()):
        if button.evaluate("node => node === document.activeElement"):
            break
        screen.page.keyboard.press("Tab")
    screen.page.keyboard.press("Enter")
    dialog = screen.page.locator(".jp-Dialog")
    expect(dialog).to_be_visible()
    screen.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    # A button that cannot be used now says so, and keeps the focus.
    end = card.get_by_role("button", name="End GPU work")
    expect(end).to_have_attribute("aria-disabled", "true")
    end.focus()
    screen.page.keyboard.press("Enter")
    expect(end).to_be_focused()
    expect(dialog).to_be_hidden()
