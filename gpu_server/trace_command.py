"""`tfusion trace`: what a slice's sessions did when, as a file that Perfetto opens."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


class TraceCommand:
    """`tfusion trace SLICE [-o FILE]`; never starts a daemon."""

    name = "trace"
    help = "write what a slice did lately as a trace for ui.perfetto.dev"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the options."""
        parser.add_argument(
            "slice", metavar="SLICE", help="id or name of an open slice; 'tfusion status' shows them"
        )
        parser.add_argument("--server", type=Path, metavar="PATH", help="control socket of a GPU server")
        parser.add_argument(
            "-o", "--output", type=Path, metavar="FILE", help="where to (default: standard output)"
        )

    def run(self, args: argparse.Namespace) -> int:
        """Writes the trace; raises TFusionError for a slice that is not open, or a file that cannot be written."""
        from gpu_server.errors import SliceNotFound, TFusionError
        from gpu_server.status_command import connect_running
        from gpu_server.timeline import perfetto

        with connect_running(args.server) as client:
            found = next((s for s in client.list_slices() if args.slice in (s.slice_id, s.name)), None)
            if found is None:
                raise SliceNotFound(f"No slice '{args.slice}' is open. 'tfusion status' shows names and ids.")
            now_s, samples = client.timeline(found.slice_id)
            decisions = [
                (now_s - entry.age_s, entry.session_id, entry.sentence)
                for entry in client.story(found.slice_id)
            ]
        text = perfetto(found.name, samples, decisions, now_s)
        if args.output is None:
            sys.stdout.write(text)
            return 0
        try:
            args.output.write_text(text)
        except OSError as error:
            raise TFusionError(f"The trace cannot be written to {args.output}: {error.strerror}.") from None
        return 0
