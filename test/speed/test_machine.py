# SPDX-License-Identifier: Apache-2.0
"""The description of the machine that a measurement ran on."""

import platform

import pytest

from mask_detector_ros.speed import machine

X86 = "processor\t: 0\nmodel name\t: Some CPU @ 3 GHz: fast\nflags\t\t: fpu {}\n\nprocessor\t: 1\n"
ARM = "processor\t: 0\nFeatures\t: fp {} crc32\n\nHardware\t: a board\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (X86.format("avx2 avx512f"), "Some CPU @ 3 GHz: fast with AVX-512"),
        (X86.format("avx avx2"), "Some CPU @ 3 GHz: fast with AVX2"),
        (X86.format(""), "Some CPU @ 3 GHz: fast"),
        (ARM.format("asimd"), f"{platform.machine()} with NEON"),
        ("", platform.machine()),
    ],
)
def test_the_processor_is_named_with_its_widest_vectors(text, expected, tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "cpuinfo")
    assert machine.describe_machine()["processor"] == expected
