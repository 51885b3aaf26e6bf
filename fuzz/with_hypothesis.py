# SPDX-License-Identifier: Apache-2.0
"""Fuzz one target with mutated seeds from hypothesis: python -m fuzz.with_hypothesis."""

import os
import sys
import time
from itertools import count as count_from
from pathlib import Path

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from benchmark.processes import ProcessStatus
from fuzz.__main__ import MEMORY_MB, SLOWEST_INPUT
from fuzz.seeds import seeds
from fuzz.targets import TARGETS

EXAMPLES_AT_A_TIME = 200


@st.composite
def spoilt(draw: st.DrawFn, good: list[bytes]) -> bytes:
    """Hypothesis strategy: a seed with bytes changed, removed, doubled or inserted, or
    truncated."""
    data = bytearray(draw(st.sampled_from(good)))
    for _ in range(draw(st.integers(0, 8))):
        place = draw(st.integers(0, len(data)))
        kind = draw(st.integers(0, 4))
        if kind == 0 and place < len(data):
            data[place] = draw(st.sampled_from([0, 1, 127, 128, 255]) | st.integers(0, 255))
        elif kind == 1:
            del data[place : place + draw(st.integers(1, 64))]
        elif kind == 2:
            data[place:place] = data[place : place + draw(st.integers(1, 64))]
        elif kind == 3:
            data[place:place] = draw(st.binary(max_size=16))
        else:
            del data[place:]
    return bytes(data)


def main(name: str, seconds: float, folder: Path, first_seed: int) -> int:
    """Run until the time is over; the current input is kept in the folder in case of a crash."""
    target, good, count = TARGETS[name], seeds(name), 0
    current = folder / "current"

    def run(data: bytes) -> None:
        nonlocal count
        count += 1
        current.write_bytes(data)
        start = time.process_time()
        target(data)
        assert "FUZZ_SELF_TEST" not in os.environ, "self test: this is a finding"
        assert time.process_time() - start < SLOWEST_INPUT, "it took too long"
        # Not ru_maxrss: a process inherits that from its parent.
        peak = ProcessStatus().memory()["VmHWM"]
        assert peak < MEMORY_MB, f"it took {peak:.0f} MB"

    for data in good:
        run(data)
    end = time.monotonic() + seconds
    for number in count_from(first_seed):
        if time.monotonic() >= end:
            break

        @seed(number)
        @settings(
            max_examples=EXAMPLES_AT_A_TIME,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(st.one_of(spoilt(good), st.binary(max_size=300)))
        def explore(data: bytes) -> None:
            if time.monotonic() < end:
                run(data)

        explore()
    current.unlink()
    print(f"DONE {count} inputs in {seconds:.0f} s, nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])))
