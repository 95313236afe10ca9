"""The daemon's Prometheus metrics, and where they are served: HTTP on an address of the configuration's.

Collected when somebody asks, on the daemon's event loop, from what the daemon has anyway: nothing is sampled.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import tornado.httpserver
import tornado.netutil
import tornado.web
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from gpu_server.errors import TFusionError

if TYPE_CHECKING:
    from gpu_server.server import GpuServer

NS_PER_S = 1_000_000_000
_GPU = ("gpu",)
_SLICE = ("gpu", "slice", "name", "owner")
_DIRECTION = (*_SLICE, "direction")


class ServerCollector(Collector):
    """Looks at a GpuServer. Every metric has the label ``gpu`` (UUID); those of slices their id, name and owner."""

    def __init__(self, server: GpuServer) -> None:
        self._server = server

    def collect(self) -> Iterator[Metric]:
        """All metrics, as they are now."""
        yield from self._gpus()
        yield from self._slices()

    def _gpus(self) -> Iterator[Metric]:
        server = self._server
        usable = GaugeMetricFamily("tfusion_gpu_usable_bytes", "Memory that the daemon may use.", labels=_GPU)
        promised = GaugeMetricFamily("tfusion_gpu_promised_bytes", "Sum of the slices' limits.", labels=_GPU)
        resident = GaugeMetricFamily("tfusion_gpu_resident_bytes", "Memory in use on the GPU.", labels=_GPU)
        slices = GaugeMetricFamily("tfusion_slices", "Open slices.", labels=_GPU)
        waiting = GaugeMetricFamily("tfusion_sessions_waiting", "Sessions that wait their turn.", labels=_GPU)
        for gpu in server.inventory.gpus():
            states = server.turns.states(gpu.uuid)
            usable.add_metric([gpu.uuid], gpu.usable_bytes)
            promised.add_metric([gpu.uuid], server.registry.reserved_bytes(gpu.uuid))
            resident.add_metric([gpu.uuid], server.turns.resident_bytes(gpu.uuid))
            slices.add_metric([gpu.uuid], len(server.registry.on_gpu(gpu.uuid)))
            waiting.add_metric([gpu.uuid], sum(state.place is not None for state in states))
        yield from (usable, promised, resident, slices, waiting)
        refused = CounterMetricFamily("tfusion_sessions_refused", "Processes that got no session.")
        refused.add_metric([], server.sessions.refused)
        yield refused

    def _slices(self) -> Iterator[Metric]:
        server = self._server
        limit = GaugeMetricFamily("tfusion_slice_limit_bytes", "Memory limit.", labels=_SLICE)
        resident = GaugeMetricFamily("tfusion_slice_resident_bytes", "Memory on the GPU.", labels=_SLICE)
        swapped = GaugeMetricFamily("tfusion_slice_swapped_bytes", "Memory on the host.", labels=_SLICE)
        spilled = GaugeMetricFamily("tfusion_slice_spilled_bytes", "Of that, on disk.", labels=_SLICE)
        gpu_time = CounterMetricFamily("tfusion_slice_gpu_seconds", "GPU time charged.", labels=_SLICE)
        waited = CounterMetricFamily("tfusion_slice_waited_seconds", "Time spent waiting.", labels=_SLICE)
        grants = CounterMetricFamily("tfusion_slice_grants", "How often it was let run.", labels=_SLICE)
        revoked = CounterMetricFamily("tfusion_slice_revocations", "How often it was stopped.", labels=_SLICE)
        refused = CounterMetricFamily(
            "tfusion_slice_refused_calls",
            "Calls to functions that a virtual GPU does not have.",
            labels=_SLICE,
        )
        moved = CounterMetricFamily("tfusion_slice_swap_bytes", "Bytes swapped.", labels=_DIRECTION)
        took = CounterMetricFamily("tfusion_slice_swap_seconds", "Time that swaps took.", labels=_DIRECTION)
        for slice_id, use in server.turns.uses().items():
            owner = server.registry.find(slice_id)
            if owner is None:
                continue
            labels = [owner.gpu_uuid, slice_id, owner.name, owner.owner]
            turns = [session.turn for session in server.sessions.sessions(slice_id)]
            limit.add_metric(labels, owner.vram_bytes)
            resident.add_metric(labels, sum(turn.resident_bytes for turn in turns))
            swapped.add_metric(labels, sum(turn.swapped_bytes for turn in turns))
            spilled.add_metric(labels, sum(turn.spilled_bytes for turn in turns))
            gpu_time.add_metric(labels, use.gpu_ns / NS_PER_S)
            waited.add_metric(labels, use.waited_ns / NS_PER_S)
            grants.add_metric(labels, use.grants)
            revoked.add_metric(labels, use.revocations)
            refused.add_metric(labels, use.refused)
            for direction, size, ns in (
                ("out", use.swaps.out_bytes, use.swaps.out_ns),
                ("in", use.swaps.in_bytes, use.swaps.in_ns),
            ):
                moved.add_metric([*labels, direction], size)
                took.add_metric([*labels, direction], ns / NS_PER_S)
        yield from (
            limit,
            resident,
            swapped,
            spilled,
            gpu_time,
            waited,
            grants,
            revoked,
            refused,
            moved,
            took,
        )


class _MetricsHandler(tornado.web.RequestHandler):
    def initialize(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def get(self) -> None:
        self.set_header("Content-Type", CONTENT_TYPE_LATEST)
        self.finish(generate_latest(self._registry))


class MetricsServer:
    """Serves ``/metrics`` at ``address`` ("host:port"; port 0 takes a free one). Raises TFusionError if it cannot."""

    def __init__(self, server: GpuServer, address: str) -> None:
        host, _, port = address.rpartition(":")
        registry = CollectorRegistry()
        registry.register(ServerCollector(server))
        application = tornado.web.Application(
            [("/metrics", _MetricsHandler, {"registry": registry})], log_function=lambda _: None
        )
        try:
            sockets = tornado.netutil.bind_sockets(int(port), host.strip("[]"))
        except (OSError, ValueError) as error:
            raise TFusionError(
                f"Metrics cannot be served at '{address}': {error}. Give an address such as 127.0.0.1:9400."
            ) from None
        self.port: int = sockets[0].getsockname()[1]
        self._http = tornado.httpserver.HTTPServer(application)
        self._http.add_sockets(sockets)

    async def close(self) -> None:
        """Ends the connections."""
        self._http.stop()
        await self._http.close_all_connections()
