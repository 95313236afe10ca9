"""The paths of the REST interface: the one table from which both handlers and the OpenAPI document are made."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from jupyter_tfusion import handlers as h

BASE = "jupyter-tfusion/api"


@dataclass(frozen=True)
class Route:
    """One path and its one method. ``answer`` names a schema of openapi.py; empty: 204.
    ``refusals``: what else it answers."""

    method: str
    path: str
    handler: type[h.Handler]
    summary: str
    answer: str = ""
    refusals: tuple[int, ...] = ()


ROUTES = (
    Route("get", "state", h.StateHandler, "GPUs, and the slices of this server's kernels", "State"),
    Route(
        "post",
        "kernels/{kernel_id}/swap-out",
        h.KernelActionHandler,
        "Free the GPU memory of a kernel's slice when its work there is over; the next call brings it back",
        refusals=(404, 409),
    ),
    Route(
        "post",
        "kernels/{kernel_id}/resume",
        h.KernelActionHandler,
        "Bring a kernel's memory back to the GPU ahead of need",
        refusals=(404, 409),
    ),
    Route(
        "post",
        "kernels/{kernel_id}/reset",
        h.KernelActionHandler,
        "End the GPU sessions of a kernel; its slice stays",
        refusals=(404, 409),
    ),
    Route(
        "get",
        "kernels/{kernel_id}/story",
        h.KernelStoryHandler,
        "What was decided about a kernel's slice and why, oldest first",
        "Story",
        refusals=(404, 409),
    ),
    Route("get", "host", h.HostHandler, "GPUs, and everybody's slices", "Host"),
    Route(
        "post",
        "host/slices/{slice_id}/swap-out",
        h.HostActionHandler,
        "Free the GPU memory of anybody's slice",
        refusals=(404, 409),
    ),
    Route(
        "post",
        "host/slices/{slice_id}/resume",
        h.HostActionHandler,
        "Bring the memory of anybody's slice back to the GPU",
        refusals=(404, 409),
    ),
    Route(
        "post",
        "host/slices/{slice_id}/reset",
        h.HostActionHandler,
        "End the GPU sessions of anybody's slice",
        refusals=(404, 409),
    ),
    Route(
        "get",
        "host/timeline",
        h.HostTimelineHandler,
        "What everybody's slices did over the last minutes",
        "Timeline",
        refusals=(409,),
    ),
    Route("get", "openapi.json", h.OpenApiHandler, "This document", "Document"),
)


def handlers() -> h.Handlers:
    """What Jupyter Server adds below its base URL; a path's last part is its action where the handler has several."""
    made: dict[str, type[h.Handler]] = {}
    for route in ROUTES:
        pattern = re.sub(r"\\\{\w+\\\}", "([^/]+)", re.escape(route.path))
        if route.handler in (h.KernelActionHandler, h.HostActionHandler):
            pattern = pattern.rpartition("/")[0] + f"/({'|'.join(h.ACTIONS)})"
        made[f"{BASE}/{pattern}"] = route.handler
    return [(pattern, handler, {}) for pattern, handler in made.items()]


def parameters(path: str) -> list[dict[str, Any]]:
    """The parameters in a path, for the OpenAPI document."""
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"\{(\w+)\}", path)
    ]
