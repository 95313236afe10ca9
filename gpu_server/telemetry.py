"""Spans for OpenTelemetry: a slice from its opening to its end, and each swap below it.

Needs the extra ``telemetry`` and an endpoint in the configuration; without one, nothing here is imported.
"""

from __future__ import annotations

import time

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, set_span_in_context

from gpu_server.slices import Slice


class Telemetry:
    """Sends spans to a collector by OTLP over HTTP, in batches from a thread of its own. For one event loop."""

    def __init__(self, endpoint: str) -> None:
        self._provider = TracerProvider(resource=Resource.create({SERVICE_NAME: "tfusion"}))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
        self._tracer = self._provider.get_tracer("tfusion")
        self._slices: dict[str, Span] = {}

    def slice_opened(self, opened: Slice) -> None:
        """Its span begins."""
        self._slices[opened.slice_id] = self._tracer.start_span(
            "slice",
            attributes={
                "tfusion.slice.id": opened.slice_id,
                "tfusion.slice.name": opened.name,
                "tfusion.slice.owner": opened.owner,
                "tfusion.slice.vram_bytes": opened.vram_bytes,
                "tfusion.slice.share": opened.share,
                "tfusion.gpu.uuid": opened.gpu_uuid,
            },
        )

    def slice_ended(self, slice_id: str, reason: str) -> None:
        """Its span ends; ``reason`` is a sentence."""
        span = self._slices.pop(slice_id, None)
        if span is not None:
            span.set_attribute("tfusion.slice.ended_because", reason)
            span.end()

    def swapped(self, slice_id: str, session_id: str, direction: str, moved_bytes: int, took_ns: int) -> None:
        """A swap that has just ended. ``direction``: out or in."""
        parent = self._slices.get(slice_id)
        if parent is None:
            return
        end_ns = time.time_ns()
        span = self._tracer.start_span(
            f"swap {direction}",
            set_span_in_context(parent),
            start_time=end_ns - took_ns,
            attributes={"tfusion.session.id": session_id, "tfusion.swap.bytes": moved_bytes},
        )
        span.end(end_ns)

    def close(self) -> None:
        """Sends what is left; waits for the collector for as long as the exporter does."""
        for slice_id in list(self._slices):
            self.slice_ended(slice_id, "The GPU server ended.")
        self._provider.shutdown()
