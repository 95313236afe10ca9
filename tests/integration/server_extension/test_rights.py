"""Nothing of the extension answers who is not authenticated, or whom the authorizer does not allow it."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import pytest
from jupyter_server.base.handlers import APIHandler

from jupyter_tfusion.handlers import ACTIONS, HOST, OWN
from jupyter_tfusion.routes import ROUTES, handlers

METHODS = ("GET", "HEAD", "POST", "DELETE", "PATCH", "PUT")


def requests() -> list[tuple[str, str, str]]:
    """Every method that a registered handler answers, on every path that leads to it, with the handler's resource."""
    found = []
    for pattern, handler, _ in handlers():
        path = pattern.replace(f"({'|'.join(ACTIONS)})", "reset").replace(
            "([^/]+)", "0123-4567-89ab-cdef-0123"
        )
        path = re.sub(r"\\(.)", r"\1", path)
        assert re.fullmatch(pattern, path)
        for method in METHODS:
            if getattr(handler, method.lower()) is not getattr(APIHandler, method.lower()):
                found.append((method, path, handler.auth_resource))
    return found


REQUESTS = requests()


@pytest.fixture(scope="module")
def denied(tmp_path_factory: pytest.TempPathFactory, wait_until: Any, extension_server: Any) -> Any:
    folder = tmp_path_factory.mktemp("denied")
    (folder / "asked").touch()
    one = extension_server(
        tmp_path_factory.mktemp("extension"),
        wait_until,
        "--TFusionExtension.host_view=True",
        "--ServerApp.authorizer_class=strict_authorizer.StrictAuthorizer",
        PYTHONPATH=str(Path(__file__).parent),
        RIGHTS_FOLDER=str(folder),
    )
    one.rights = folder
    yield one
    one.close()


def test_every_handler_is_among_the_requests() -> None:
    assert {handler for _, handler, _ in handlers()} == {route.handler for route in ROUTES}
    assert len({path for _, path, _ in REQUESTS}) == len(handlers())
    assert {resource for _, _, resource in REQUESTS} == {OWN, HOST}


@pytest.mark.parametrize(("method", "path", "resource"), REQUESTS)
def test_without_a_token_nothing_is_answered(server: Any, method: str, path: str, resource: str) -> None:
    status, body = server.request(method, path, token="wrong")
    assert status == 403
    assert set(body) <= {"message", "reason"}


@pytest.mark.parametrize(("method", "path", "resource"), REQUESTS)
def test_the_authorizer_is_asked_and_its_no_counts(
    denied: Any, method: str, path: str, resource: str
) -> None:
    (denied.rights / "asked").write_text("")
    status, body = denied.request(method, path)
    assert status == 403
    assert "authorized" in body["message"] or "You may not" in body["message"]
    action = "read" if method == "GET" else "write"
    asked = [json.loads(line) for line in (denied.rights / "asked").read_text().splitlines()]
    assert [action, resource] in asked


def test_the_host_view_needs_the_authorizers_consent_besides_the_setting(denied: Any) -> None:
    (denied.rights / "allowed").write_text(json.dumps([OWN]))
    status, state = denied.api("GET", "state")
    assert (status, state["may_see_host"]) == (200, False)
    assert denied.api("GET", "host")[0] == 403
    (denied.rights / "allowed").write_text(json.dumps([OWN, HOST]))
    assert denied.api("GET", "state")[1]["may_see_host"] is True
    assert denied.api("GET", "host")[0] == 200
    (denied.rights / "allowed").unlink()


@pytest.mark.parametrize("path", [path for method, path, _ in REQUESTS if method == "POST"])
def test_a_browser_without_the_xsrf_token_changes_nothing(server: Any, path: str) -> None:
    cookies = CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))
    browser.open(f"{server.jupyter.url}api/status?token={server.jupyter.token}").close()
    browser.open(f"{server.jupyter.url}jupyter-tfusion/api/state").close()  # the cookie is enough to look
    with pytest.raises(urllib.error.HTTPError) as refused:
        browser.open(urllib.request.Request(f"{server.jupyter.url}{path}", method="POST", data=b""))
    assert refused.value.code == 403
    assert "_xsrf" in refused.value.read().decode()
