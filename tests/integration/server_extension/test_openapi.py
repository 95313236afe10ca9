"""The OpenAPI document is what the server does: schemathesis makes requests from it and compares the answers."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from jupyter_tfusion.openapi import document
from jupyter_tfusion.routes import ROUTES


def test_the_document_is_served(server: Any) -> None:
    status, served = server.api("GET", "openapi.json")
    assert status == 200
    assert served["openapi"].startswith("3.1")
    assert served == document("/")
    assert {path.lstrip("/") for path in served["paths"]} == {route.path for route in ROUTES}


def test_answers_are_as_documented_whatever_is_asked(server: Any) -> None:
    kernel = server.kernel()
    kernel.ask("start")
    kernel.ask("fill 8 1")
    server.until(lambda: kernel.slice()["phase"] == "idle")
    # With ids that exist, so that more than refusals is compared.
    found = server.api("GET", "openapi.json")[1]
    ids = {"kernel_id": kernel.kernel_id, "slice_id": kernel.slice()["slice_id"]}
    for path in found["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", ()):
                parameter["example"] = ids[parameter["name"]]
    file = server.folder / "openapi.json"
    file.write_text(json.dumps(found))
    run = [
        *(sys.executable, "-m", "schemathesis.cli", "run", str(file)),
        *("--url", f"{server.jupyter.url}jupyter-tfusion/api"),
        *("--header", f"Authorization: token {server.jupyter.token}"),
        *(
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        ),
        *("--phases", "examples,coverage,fuzzing"),
        *("--max-examples", "20", "--generation-deterministic"),
        *("--workers", "1", "--no-color", "--suppress-health-check", "all"),
    ]
    done = subprocess.run(run, capture_output=True, text=True, timeout=600, cwd=server.folder, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "Tested" in done.stdout or "tested" in done.stdout, done.stdout
    with server.daemon() as daemon:
        assert [s.kernel_id for s in daemon.list_slices()] == [
            kernel.kernel_id
        ]  # none of it has ended the slice
