"""`make bench-gpu`: what learners' programs cost under a slice, compared with the same programs on the GPU itself.

Each workload runs in two processes that live side by side, one native and one under `tfusion run`; rounds of the two
are timed in turn, so that both see the same machine. Ratios are hooked over native, pair by pair.
`gpu/__init__.py` says where what is.

    run_gpu.py                            all, seven pairs
    run_gpu.py --only mlp,graph --pairs 15
    run_gpu.py --record                   adds table and plot to docs/measurements.md
    run_gpu.py --rehearse --pairs 1       tries it on the software GPU; the figures mean nothing
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from gpu import report, startup
from gpu.pairs import Outcome, compare
from gpu.registry import Workload, load
from gpu.sides import Sides, versions
from run import MEASUREMENTS, ROOT, machine

PICTURE = Path("images") / "bench-gpu.svg"


def chosen(only: str) -> tuple[list[Workload], list[str]]:
    """The workloads and the kinds of fresh processes to measure; exits with a sentence if a name is not known."""
    workloads, starts = load(), ["driver", "torch"]
    known = [*workloads, *(f"first_{name}" for name in starts)]
    names = [name for name in only.split(",") if name] or known
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"No workload is named {', '.join(unknown)}. There are: {', '.join(known)}")
    return (
        [workloads[name] for name in workloads if name in names],
        [name for name in starts if f"first_{name}" in names],
    )


def main() -> int:
    """Measures and reports; 1 if a workload failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", metavar="NAME,...", help="these workloads alone")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    parser.add_argument("--pairs", type=int, default=7, help="rounds on each side (default: 7)")
    parser.add_argument("--seconds-per-round", type=float, default=0.3, metavar="S", help="(default: 0.3)")
    parser.add_argument(
        "--budget-s", type=float, default=0.0, metavar="S", help="begin no workload after that"
    )
    parser.add_argument("--memory", default="", metavar="SIZE", help="what the daemon may use of the GPU")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured, unrounded")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the plot (SVG)")
    parser.add_argument("--record", action="store_true", help="add a section to docs/measurements.md")
    parser.add_argument("--rehearse", action="store_true", help="software GPU on both sides")
    options = parser.parse_args()
    if options.pairs < 1:
        parser.error("--pairs must be at least 1")
    if options.record and options.rehearse:
        parser.error("a rehearsal's figures mean nothing; they are not recorded")
    workloads, starts = chosen(options.only)
    if options.list:
        for workload in workloads:
            print(f"{workload.name:<20} {workload.title}")
        return 0

    began = time.monotonic()
    outcomes: list[Outcome] = []
    all_starts: list[startup.Starts] = []
    skipped: list[str] = []

    def time_is_left() -> bool:
        return not options.budget_s or time.monotonic() - began < options.budget_s

    memory = options.memory or ("768MiB" if options.rehearse else "48GiB")
    with Sides(memory, options.rehearse) as sides:
        where = {"gpu": sides.gpu(), "host": machine(), "versions": versions()}
        print(f"{where['gpu']}; {where['host']}; {where['versions']}", flush=True)
        for name in starts:
            if time_is_left():
                all_starts.append(startup.measure(sides, name, options.pairs))
            else:
                skipped.append(f"first_{name}")
        for workload in workloads:
            if not time_is_left():
                skipped.append(workload.name)
                continue
            at = time.monotonic()
            outcomes.append(compare(sides, workload, options.pairs, options.seconds_per_round))
            print(report.progress_line(outcomes[-1], time.monotonic() - at), flush=True)
            if options.json:  # what there is, should the rest be cut off
                write_json(options.json, where, outcomes, all_starts, skipped)

    parts = [
        report.summary(outcomes) if outcomes else "",
        report.table(outcomes) if any(o.ratios for o in outcomes) else "",
        report.starts_table(all_starts),
        report.without_figures(outcomes, skipped),
    ]
    print("\n" + "\n\n".join(part for part in parts if part))
    print(f"\n{time.monotonic() - began:.0f} s in all.")
    if options.json:
        write_json(options.json, where, outcomes, all_starts, skipped)
    title = f"{where['gpu']}: {options.pairs} pairs"
    if options.plot and (why := report.plot(outcomes, options.plot, title)):
        print(f"No plot was written: {why}", file=sys.stderr)
    if options.record:
        why = report.plot(outcomes, ROOT / "docs" / PICTURE, title)
        if why:
            print(f"No plot was written: {why}", file=sys.stderr)
        conditions = (
            f"`make bench-gpu`: {options.pairs} pairs of rounds of about {options.seconds_per_round:g} s, native and "
            "hooked in turn, both processes alive. A ratio is hooked over native of one pair; the median and the "
            "quartiles are given. Bits: whether the first results of a seeded run are the native ones."
        )
        report.record(
            MEASUREMENTS, report.section(where, conditions, parts, "" if why else PICTURE.as_posix())
        )
    return 1 if any(o.error for o in outcomes) or any(s.error for s in all_starts) else 0


def write_json(
    file: Path,
    where: dict[str, str],
    outcomes: list[Outcome],
    starts: list[startup.Starts],
    skipped: list[str],
) -> None:
    """Writes it at once or not at all."""
    temporary = file.with_name(file.name + ".part")
    temporary.write_text(json.dumps(report.as_json(where, outcomes, starts, skipped), indent=1) + "\n")
    temporary.replace(file)


if __name__ == "__main__":
    sys.exit(main())
