"""How well several slices share one GPU: swapping, turns, shares, bad neighbours, a class; each against its target.

`sharing/__init__.py` says where what is.

    run_sharing.py                              all; about fifteen minutes and the class
    run_sharing.py --only swap,trade,wake
    run_sharing.py --record                     adds table and plot to docs/measurements.md
    run_sharing.py --rehearse --seconds 1       tries it on the software GPU; the figures mean nothing

Exits with 1 if an experiment failed (a missed target is no failure, a wrong result is), and in a rehearsal too.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from gpu.report import record
from gpu.sides import versions
from run import MEASUREMENTS, ROOT, machine
from sharing import report
from sharing.experiments import EXPERIMENTS, run
from sharing.host import Host
from sharing.rows import Outcome
from sharing.scale import Scale

PICTURE = Path("images") / "bench-sharing.svg"


def arguments() -> tuple[argparse.Namespace, list[str]]:
    """The options, and the names of the experiments to run; exits with a sentence if one is not known."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", metavar="NAME,...", help="these experiments alone")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    parser.add_argument(
        "--seconds", type=float, default=10.0, metavar="S", help="a window of a measurement (default: 10)"
    )
    parser.add_argument(
        "--class-seconds", type=float, metavar="S", help="of the class (default: 600; in a rehearsal 20)"
    )
    parser.add_argument(
        "--repeats", type=int, metavar="N", help="windows of each measurement (default: 3; in a rehearsal 1)"
    )
    parser.add_argument(
        "--budget-s", type=float, default=0.0, metavar="S", help="begin no experiment after that"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured, unrounded")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the plot (SVG)")
    parser.add_argument("--record", action="store_true", help="add a section to docs/measurements.md")
    parser.add_argument("--rehearse", action="store_true", help="on the software GPU, 16 GiB are 64 MiB")
    options = parser.parse_args()
    if options.seconds <= 0 or (options.repeats is not None and options.repeats < 1):
        parser.error("--seconds must be above 0, --repeats at least 1")
    if options.record and options.rehearse:
        parser.error("a rehearsal's figures mean nothing; they are not recorded")
    names = [name for name in options.only.split(",") if name] or list(EXPERIMENTS)
    if unknown := [name for name in names if name not in EXPERIMENTS]:
        parser.error(f"no experiment is named {', '.join(unknown)}; there are: {', '.join(EXPERIMENTS)}")
    return options, [name for name in EXPERIMENTS if name in names]


def main() -> int:
    """Measures and reports; 1 if an experiment failed."""
    options, names = arguments()
    if options.list:
        for name in EXPERIMENTS:
            said = (EXPERIMENTS[name].__doc__ or "").strip().splitlines()[0]
            print(f"{name:<12} {said}")
        return 0
    scale = Scale(
        rehearsal=options.rehearse,
        seconds=options.seconds,
        class_seconds=options.class_seconds or (20.0 if options.rehearse else 600.0),
        repeats=options.repeats or (1 if options.rehearse else 3),
    )
    began = time.monotonic()
    outcomes: list[Outcome] = []
    skipped: list[str] = []
    with Host(scale) as host:
        where = {"gpu": host.gpu(), "host": machine(), "versions": versions()}
    print(f"{where['gpu']}; {where['host']}; {where['versions']}", flush=True)

    def write_json() -> None:
        if options.json:
            chosen: dict[str, Any] = {"rehearsal": scale.rehearsal, "seconds": scale.seconds}
            made = report.as_json(where, chosen | {"repeats": scale.repeats}, outcomes, skipped)
            options.json.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")

    for name in names:
        if options.budget_s and time.monotonic() - began >= options.budget_s:
            skipped.append(name)
            continue
        outcomes.append(run(name, scale))
        print(f"{name} [{outcomes[-1].seconds:.0f} s]", flush=True)
        for row in outcomes[-1].rows:
            print(report.progress(row), flush=True)
        write_json()  # what there is, should the rest be cut off

    parts = [report.table(outcomes), report.without_figures(outcomes, skipped)]
    print("\n" + "\n\n".join(part for part in parts if part))
    print(f"\n{time.monotonic() - began:.0f} s in all.")
    write_json()
    title = f"{where['gpu']}: a class of {scale.learners}"
    if options.plot and (why := report.plot(outcomes, options.plot, title)):
        print(f"No plot was written: {why}", file=sys.stderr)
    if options.record:
        why = report.plot(outcomes, ROOT / "docs" / PICTURE, title)
        if why:
            print(f"No plot was written: {why}", file=sys.stderr)
        conditions = (
            f"`benchmarks/run_sharing.py`: windows of {scale.seconds:g} s, {scale.repeats} of each; 16 GiB of the GPU "
            "for all slices. Kernels are counted by the programs that ran them, waits are by their clocks. The figure "
            "is what the target is for; spread is least to most."
        )
        picture = "" if why else PICTURE.as_posix()
        record(MEASUREMENTS, report.section(where, conditions, parts, picture))
        print(f"Added a section to {MEASUREMENTS}")
    return 1 if any(row.error for outcome in outcomes for row in outcome.rows) else 0


if __name__ == "__main__":
    sys.exit(main())
