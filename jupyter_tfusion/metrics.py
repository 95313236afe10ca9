"""The extension's part of the Jupyter server's /metrics. Collected when somebody asks; nothing is sampled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from jupyter_tfusion.view import View

MEMORY = ("used", "resident", "swapped")


class ExtensionCollector(Collector):
    """What the slices of this server's kernels do, and what the extension did."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.events: Counter[str] = Counter()
        self.actions: Counter[tuple[str, str]] = Counter()

    def describe(self) -> Iterable[Metric]:
        """Nothing is looked at when the collector is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics, as they are now. On the event loop, as /metrics is."""
        connected = GaugeMetricFamily("jupyter_tfusion_server_connected", "Whether the GPU server answers.")
        connected.add_metric([], float(self._view.server()["connected"]))
        yield connected
        slices = self._view.own_slices()
        phases = GaugeMetricFamily(
            "jupyter_tfusion_slices", "Slices of this server's kernels, by what they do.", labels=("phase",)
        )
        for phase, count in sorted(Counter(s["phase"] for s in slices).items()):
            phases.add_metric([phase], count)
        yield phases
        memory = GaugeMetricFamily(
            "jupyter_tfusion_slice_memory_bytes", "GPU memory of a kernel's slice.", labels=("kernel", "kind")
        )
        for s in slices:
            for kind in MEMORY:
                memory.add_metric([s["kernel_id"], kind], s[f"{kind}_bytes"])
        yield memory
        events = CounterMetricFamily("jupyter_tfusion_events", "Events emitted.", labels=("schema",))
        for schema, count in sorted(self.events.items()):
            events.add_metric([schema], count)
        yield events
        actions = CounterMetricFamily(
            "jupyter_tfusion_actions", "What was asked of slices.", labels=("action", "result")
        )
        for (action, result), count in sorted(self.actions.items()):
            actions.add_metric([action, result], count)
        yield actions
