# SPDX-License-Identifier: Apache-2.0
"""What each command leaves on the machine: the named output and caches, and no connection."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import pytest

from mask_detector_ros.cli import COMMANDS

ELSEWHERE = {"serve": "needs Triton; it opens the ports that the user names"}
"""Commands that are not traced here."""

LINES = {
    "image": "image {image} -o {out}/images --csv {out}/x.csv --coco {out}/x.json --threads 1",
    "video": "video {video} -o {out}/x.mp4 --json --threads 1",
    "video webm": "video {video} -o {out}/x.webm --threads 1",
    "video rrd": "video sample --frames 2 --rrd {out}/x.rrd --threads 1",
    "bag": "bag {bag} -o {out}/bag --threads 1",
    "export": "export triton {out}/models",
    "evaluate": "evaluate {dataset} -o {out}/report --threads 1",
    "benchmark": "benchmark --sizes 160x120 --faces 1 --min-faces 40 --backends onnxruntime"
    " --peers none --frames 1 --rounds 1 -o {out}/speed",
    "models": "models",
    "completion": "completion bash",
}
NEEDS = {"bag": "rosbags", "completion": "shtab", "video rrd": "rerun", "evaluate": "matplotlib"}

CALLS = (
    *("open", "openat", "creat", "mkdir", "mkdirat", "mknod", "mknodat", "rename", "renameat"),
    *("renameat2", "unlink", "unlinkat", "rmdir", "link", "linkat", "symlink", "symlinkat"),
    *("truncate", "chmod", "fchmodat", "socket", "connect", "bind", "sendto"),
)
_WRITES = re.compile(r"^(?!open)|O_WRONLY|O_RDWR|O_CREAT|O_TRUNC")
_CALL = re.compile(r"^\d+\s+(?P<call>\w+\(.*)\s= (?P<result>-?\w+)", re.MULTILINE)
_LOCAL_SOCKET = re.compile(r"^((socket|connect)\(.*AF_(UNIX|NETLINK))")


def make_inputs(folder: Path, astronaut: Path) -> dict[str, Path]:
    """Make one input of each kind."""
    inputs = {"image": folder / "in.png", "video": folder / "in.mp4", "dataset": folder / "data"}
    face = cv2.imread(str(astronaut))
    cv2.imwrite(str(inputs["image"]), face)
    size = (face.shape[1], face.shape[0])
    writer = cv2.VideoWriter(str(inputs["video"]), cv2.VideoWriter.fourcc(*"mp4v"), 10, size)
    for _ in range(3):
        writer.write(face)
    writer.release()
    inputs["dataset"].mkdir()
    shutil.copy(inputs["image"], inputs["dataset"] / "1.png")
    box = "1.png,60,40,140,140,without_mask\n"
    (inputs["dataset"] / "labels.csv").write_text("file,xmin,ymin,xmax,ymax,label\n" + box)
    if find_spec("rosbags"):
        from bag_maker import make_bag

        inputs["bag"] = make_bag(folder / "bag", "mcap", [face] * 2)
    return inputs


def traced(line: list[str], home: Path, folder: Path) -> list[str]:
    """Trace the successful system calls of the command and its children, without reads."""
    # With a filter in the kernel only the calls of interest stop the process.
    strace = ("strace", "-f", "--seccomp-bpf")
    if shutil.which("strace") is None or subprocess.run([*strace, "true"]).returncode:
        pytest.skip("needs strace 5.3 or newer, and permission to trace")
    log = folder / "calls"
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("XDG_", "MPL"))}
    places = {"HOME": str(home), "TMPDIR": str(home / "tmp"), "PYTHONDONTWRITEBYTECODE": "1"}
    options = ("-y", "-qq", "-s", "400", "-e", f"trace={','.join(CALLS)}", "-o", str(log))
    done = subprocess.run(
        [*strace, *options, sys.executable, "-m", "mask_detector_ros", *line],
        env=kept | places,
        cwd=home,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    calls = [m for m in _CALL.finditer(log.read_text(errors="replace")) if m["result"] != "-1"]
    return [m["call"] for m in calls if _WRITES.search(m["call"])]


def test_every_command_is_traced_or_says_why_not() -> None:
    assert {line.split()[0] for line in LINES} | set(ELSEWHERE) == set(COMMANDS)


@pytest.mark.parametrize("command", LINES)
def test_a_command_writes_only_its_output_and_caches_and_connects_to_nobody(
    command: str, tmp_path: Path, astronaut_file: Path
) -> None:
    if command in NEEDS:
        pytest.importorskip(NEEDS[command])
    home, out, given = (tmp_path / name for name in ("home", "out", "given"))
    for folder in (home, home / "tmp", out, given):
        folder.mkdir()
    inputs = make_inputs(given, astronaut_file)
    before = {path: path.read_bytes() for path in given.rglob("*") if path.is_file()}
    line = LINES[command].format(out=out, **inputs).split()
    calls = traced(line, home, tmp_path)

    connections = [c for c in calls if re.match(r"socket|connect|bind|sendto", c)]
    assert [c for c in connections if not _LOCAL_SOCKET.match(c)] == []
    allowed = (out, home / "tmp", home / ".cache", Path("/dev/null"), Path("/proc/self"))
    writes = [c for c in calls if c not in connections]
    assert [c for c in writes if not any(f'"{p}' in c or f"<{p}" in c for p in allowed)] == []
    assert list((home / "tmp").iterdir()) == [], "temporary files are removed"
    assert {path: path.read_bytes() for path in given.rglob("*") if path.is_file()} == before
    if "{out}" in LINES[command]:
        assert any(str(out) in c for c in writes), "the output itself was written"
