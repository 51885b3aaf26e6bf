# SPDX-License-Identifier: Apache-2.0
"""One server and several robots through faults and load: python -m benchmark.fleet.

Prints a table; exit code 1 where something did not hold.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmark.fleet.scenarios import SCENARIOS, Load, Row
from benchmark.inference_server import missing_server
from benchmark.processes import Lost
from mask_detector_ros.speed.machine import describe_machine

HEADER = ("", "results/s", "served", "p50 ms", "p99 ms", "gap s", "fair", "CPU", "")
WIDTHS = (17, 9, 6, 6, 6, 5, 4, 9)
"""CPU is that of the server and of one robot, in cores."""


def format_line(cells: Sequence[str]) -> str:
    """Format a line of the fleet check's table: the first and last cell to the left, numbers to the
    right."""
    middle = (f"{c:>{w}}" for c, w in zip(cells[1:-1], WIDTHS[1:], strict=True))
    return f"{cells[0]:<{WIDTHS[0]}}  {'  '.join(middle)}  {cells[-1]}".rstrip()


def format_row(row: Row) -> str:
    """Format the result of one fleet scenario as a line of the table."""
    cells = [""] * (len(WIDTHS) - 1)
    if (f := row.figures) is not None:
        cells = [f"{f.rate:.0f}", f"{f.served:.0%}", f"{f.p50 * 1e3:.0f}", f"{f.p99 * 1e3:.0f}"]
        cells += [f"{f.gap:.2f}", f"{f.fairness:.2f}" if f.served else ""]
        cells += [f"{row.cpu[0]:.2f}+{row.cpu[1]:.2f}" if row.cpu else ""]
    faults = "; ".join(f"FAILED: {fault}" for fault in row.faults)
    return format_line([row.name, *cells, "; ".join(filter(None, (row.remark, faults)))])


def run(load: Load, names: Sequence[str]) -> Iterator[Row]:
    """Run all scenarios of the fleet check, or those with these names; yield their rows."""
    for scenario in SCENARIOS:
        if names and scenario.__name__ not in names:
            continue
        try:
            yield from scenario(load)
        except Lost as error:
            yield Row(scenario.__name__.replace("_", " "), faults=[str(error)])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the scenarios; return the exit code."""
    parser = argparse.ArgumentParser(prog="fleet-check", description=__doc__)
    parser.add_argument("--robots", type=int, default=3, help="number of robots, default 3")
    parser.add_argument(
        "--rate", type=float, default=15.0, help="frames per second of each robot, default 15"
    )
    parser.add_argument(
        "--seconds", type=float, default=8.0, help="seconds of each period, default 8"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the figures to this JSON file"
    )
    parser.add_argument(
        "--only", nargs="+", default=[], choices=[s.__name__ for s in SCENARIOS], metavar="SCENARIO"
    )
    options = parser.parse_args(argv)
    if problem := missing_server():
        print(f"error: {problem}", file=sys.stderr)
        return 1
    load = Load(options.robots, options.rate, options.seconds)
    machine = describe_machine()
    print(f"{load.robots} robots, {load.rate:g} frames/s each; {machine['processor']}, ", end="")
    print(f"{machine['cores']} cores, load {machine['load']}")
    print(format_line(HEADER), flush=True)
    rows = []
    for row in run(load, options.only):
        rows.append(row)
        print(format_row(row), flush=True)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2))
    faults = sum(len(row.faults) for row in rows)
    print(f"{faults} faults" if faults else "all as it should be")
    if faults and machine["load"] > machine["cores"] / 2:
        print("other programs were busy here: times and gaps may be theirs; try on a quiet machine")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
