# SPDX-License-Identifier: Apache-2.0
"""Draw what `benchmark.soak --every` recorded.

python -m benchmark.soak_figure REPORT.json ... -o FIGURE.svg
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

PANELS = {
    "Resident memory [MB]": {"working_mb": "-", "idle_mb": "--"},
    "Threads": {"threads": "-"},
    "Open files": {"descriptors": "-"},
}
"""The fields of `benchmark.soak.Sample` in each panel, with their line style."""


def draw(reports: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Plot memory, threads and open files of a soak test over time, one line per report."""
    # Text stays text, and the same data give the same file.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "soak"})
    figure, axes = plt.subplots(
        len(PANELS), sharex=True, figsize=(8, 6), height_ratios=(3, 1, 1), layout="constrained"
    )
    for axis, (title, fields) in zip(axes, PANELS.items(), strict=True):
        for number, (name, samples) in enumerate(reports.items()):
            minutes = [sample["seconds"] / 60 for sample in samples]
            for field, style in fields.items():
                label = f"{name}, {'without models' if field == 'idle_mb' else 'at work'}"
                values = [sample[field] for sample in samples]
                axis.plot(minutes, values, style, color=f"C{number}", label=label)
        axis.set_ylabel(title)
        axis.set_ylim(0, 1.2 * axis.get_ylim()[1])
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize="small", ncols=2, loc="upper right")
    axes[-1].set_xlabel("Minutes")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> int:
    """Draw; the name of a report is that of its file."""
    parser = argparse.ArgumentParser(prog="soak_figure", description=__doc__.splitlines()[0])
    parser.add_argument("reports", nargs="+", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args(argv)
    reports = {
        path.stem: json.loads(path.read_text(encoding="utf-8"))["rounds"]
        for path in arguments.reports
    }
    draw(reports, arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
