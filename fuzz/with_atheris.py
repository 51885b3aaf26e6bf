# SPDX-License-Identifier: Apache-2.0
"""Fuzz one target, guided by the coverage of our own code: python -m fuzz.with_atheris."""

import os
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["mask_detector_ros", "convert_to_trt"]):
    from fuzz.targets import TARGETS

from fuzz.__main__ import MEMORY_MB, SLOWEST_INPUT
from fuzz.seeds import seeds


def main(name: str, seconds: float, folder: Path, seed: int) -> None:
    """Run libFuzzer, which ends the process."""
    work = Path(tempfile.mkdtemp(prefix="fuzz_"))
    for number, data in enumerate(seeds(name)):
        (work / str(number)).write_bytes(data)
    print(f"DONE {name} with atheris for {seconds:.0f} s, nothing found", flush=True)
    atheris.Setup(
        [
            "fuzz",
            str(work),
            f"-seed={seed}",
            f"-max_total_time={max(int(seconds), 1)}",
            f"-timeout={SLOWEST_INPUT}",
            f"-rss_limit_mb={MEMORY_MB}",
            f"-artifact_prefix={folder}{os.sep}",
            "-max_len=20000",
            "-verbosity=0",
        ],
        TARGETS[name],
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
