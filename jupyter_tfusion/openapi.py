"""The OpenAPI document of the REST interface, made from the table of routes and from the schemas of the events."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import yaml

from jupyter_tfusion import __version__
from jupyter_tfusion.handlers import HOST
from jupyter_tfusion.routes import BASE, ROUTES, Route, parameters

Json = dict[str, Any]

REFUSALS = {
    403: "Not allowed, or not authenticated.",
    404: "No such kernel or slice.",
    409: "It cannot be now; the message says why and what to do.",
}


def document(base_url: str) -> Json:
    """OpenAPI 3.1 for a server at ``base_url`` (as Jupyter has it, with slashes at both ends)."""
    paths: Json = {}
    for route in ROUTES:
        paths.setdefault(f"/{route.path}", {})[route.method] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "jupyter-tfusion",
            "version": __version__,
            "description": "GPU slices of a Jupyter server's kernels. Refusals carry a sentence for the user.",
        },
        "servers": [{"url": f"{base_url}{BASE}"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "'token' and the Jupyter server's token. Browsers send their cookie and XSRF token.",
                }
            },
            "schemas": _schemas(),
        },
    }


def _operation(route: Route) -> Json:
    responses: Json = {}
    if route.answer:
        responses["200"] = _response("What was asked for.", f"#/components/schemas/{route.answer}")
    else:
        responses["204"] = {"description": "Done, or begun."}
    for status in (403, *route.refusals):
        responses[str(status)] = _response(REFUSALS[status], "#/components/schemas/Refusal")
    operation: Json = {
        "operationId": f"{route.method}_{route.path}".replace("/", "_").replace("{", "").replace("}", ""),
        "summary": route.summary,
        "tags": ["host" if route.handler.auth_resource == HOST else "own"],
        "responses": responses,
    }
    if found := parameters(route.path):
        operation["parameters"] = found
    return operation


def _response(description: str, schema: str) -> Json:
    return {"description": description, "content": {"application/json": {"schema": {"$ref": schema}}}}


@cache
def _schemas() -> Json:
    text = (resources.files("jupyter_tfusion") / "event_schemas" / "slices.yaml").read_text(encoding="utf-8")
    event = yaml.safe_load(text)["properties"]
    seconds = {"type": "number", "minimum": 0}
    size = {"type": "integer", "minimum": 0}
    slices = _list_of("#/components/schemas/Slice")
    gpus = _list_of("#/components/schemas/Gpu")
    return {
        "Gpu": event["gpus"]["items"],
        "Slice": event["slices"]["items"],
        "State": _object(
            server=_object(connected={"type": "boolean"}, sentence={"type": "string"}),
            may_see_host={"type": "boolean"},
            gpus=gpus,
            slices=slices,
            serial={"type": "integer", "minimum": 0, "description": "That of the newest event in it."},
        ),
        "Story": _object(
            entries={"type": "array", "items": _object(age_s=seconds, sentence={"type": "string"})}
        ),
        "Host": _object(gpus=gpus, slices=slices),
        "Timeline": _object(
            now_s=seconds,
            slices={
                "type": "array",
                "items": _object(
                    slice_id={"type": "string"},
                    name={"type": "string"},
                    owner={"type": "string"},
                    samples={
                        "type": "array",
                        "items": _object(
                            at_s=seconds,
                            phase=event["slices"]["items"]["properties"]["phase"],
                            resident_bytes=size,
                            swapped_bytes=size,
                        ),
                    },
                ),
            },
        ),
        "Document": {"type": "object", "required": ["openapi", "paths"]},
        "Refusal": {
            "type": "object",
            "required": ["message"],
            "properties": {"message": {"type": "string", "description": "A sentence for the user."}},
        },
    }


def _object(**properties: Json) -> Json:
    return {"type": "object", "required": list(properties), "properties": properties}


def _list_of(schema: str) -> Json:
    return {"type": "array", "items": {"$ref": schema}}
