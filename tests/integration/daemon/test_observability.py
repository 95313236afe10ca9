"""What can be seen from outside: metrics for Prometheus, a slice's story, and a trace for Perfetto."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

MIB = 1 << 20


@pytest.fixture
def busy(configured: Any) -> Any:
    """Two sessions, one of which had to give memory to the other."""
    host = configured(
        "64MiB", oversubscription=4.0, swap_memory="512MiB", cooling_s=0.0, metrics_address="127.0.0.1:0"
    )
    for seed in range(2):
        guest = host.guest("48MiB")
        guest.ask("start")
        assert guest.ask(f"fill 40 {seed}") == "ok filled"
        assert guest.ask("scale 100 3") == "ok correct"
    return host


def command(host: Any, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "gpu_server.cli", *arguments, "--server", str(host.socket)],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_metrics_tell_memory_time_and_swaps_of_each_slice(busy: Any) -> None:
    port = next(line.split()[-1] for line in busy.log.read_text().splitlines() if "metrics at port" in line)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        families = {f.name: f for f in text_string_to_metric_families(answer.read().decode())}
    (usable,) = families["tfusion_gpu_usable_bytes"].samples
    (resident,) = families["tfusion_gpu_resident_bytes"].samples
    assert usable.value == 64 * MIB
    assert 40 * MIB <= resident.value <= 64 * MIB
    assert families["tfusion_slices"].samples[0].value == 2
    by_slice = {s.labels["slice"]: s.value for s in families["tfusion_slice_swapped_bytes"].samples}
    sessions = {s.slice_id: s for s in busy.client.list_sessions()}
    assert by_slice == {slice_id: s.swapped_bytes for slice_id, s in sessions.items()}
    out = [s.value for s in families["tfusion_slice_swap_bytes"].samples if s.labels["direction"] == "out"]
    assert sum(out) >= 16 * MIB
    assert all(s.value > 0 for s in families["tfusion_slice_gpu_seconds"].samples)
    assert all(s.value >= 1 for s in families["tfusion_slice_grants"].samples)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/")


def test_metrics_count_calls_that_a_virtual_gpu_does_not_have(configured: Any) -> None:
    host = configured("64MiB", metrics_address="127.0.0.1:0")
    guest = host.guest()
    guest.ask("start")
    for _ in range(3):
        assert guest.ask("unknown") == "error 801"
    guest.ask("sync")
    port = next(line.split()[-1] for line in host.log.read_text().splitlines() if "metrics at port" in line)

    def refused() -> list[float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            families = {f.name: f for f in text_string_to_metric_families(answer.read().decode())}
        return [s.value for s in families["tfusion_slice_refused_calls"].samples]

    host.until(lambda: refused() == [3])


def test_the_status_shows_what_is_where_and_the_story_why(busy: Any) -> None:
    table = command(busy, "status")
    assert "ON GPU + HOST" in table
    assert table.count("MiB + ") == 2
    first, *_ = busy.client.list_slices()
    for name in (first.slice_id, first.name):
        assert "begins" in command(busy, "status", "--story", name)
    told = json.loads(command(busy, "status", "--story", first.slice_id, "--json"))["story"]
    assert told[0]["age_s"] >= told[-1]["age_s"]


def test_a_trace_opens_in_perfetto(busy: Any, tmp_path: Path) -> None:
    first, *_ = busy.client.list_slices()
    file = tmp_path / "trace.json"
    command(busy, "trace", first.slice_id, "--output", str(file))
    events = json.loads(file.read_text())["traceEvents"]
    phases = {event["name"] for event in events if event["ph"] == "X"}
    assert {"running", "idle"} & phases
    assert any(event["ph"] == "C" and event["args"].get("swapped", 0) >= 16 * MIB for event in events)
    assert all(event["ts"] >= 0 for event in events if "ts" in event)


def test_spans_of_slices_and_swaps_reach_a_collector(configured: Any) -> None:
    spans: list[Any] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            sent = ExportTraceServiceRequest.FromString(body)
            spans.extend(span for r in sent.resource_spans for scope in r.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        host = configured(
            "64MiB",
            oversubscription=4.0,
            swap_memory="512MiB",
            telemetry_endpoint=f"http://127.0.0.1:{collector.server_port}/v1/traces",
        )
        for seed in range(2):
            guest = host.guest("48MiB")
            guest.ask("start")
            assert guest.ask(f"fill 40 {seed}") == "ok filled"
        for guest in host._guests:
            guest.end()
        host.until(lambda: len([span for span in spans if span.name == "slice"]) == 2)
        collector.shutdown()
    out = [span for span in spans if span.name == "swap out"]
    assert out
    slices = {span.span_id for span in spans if span.name == "slice"}
    assert all(span.parent_span_id in slices for span in out)
    assert all(span.end_time_unix_nano > span.start_time_unix_nano for span in spans)


def test_what_is_not_there_is_said(busy: Any) -> None:
    for arguments in (("trace", "nobody"), ("status", "--story", "nobody")):
        with pytest.raises(subprocess.CalledProcessError) as failed:
            command(busy, *arguments)
        assert "No slice 'nobody' is open" in failed.value.stderr
