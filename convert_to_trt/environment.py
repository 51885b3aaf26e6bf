"""Environments of their own for heavy packages: `make convert-env` and `make tensorrt-env`."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from mask_detector_ros.errors import BackendError

REPOSITORY = Path(__file__).resolve().parents[1]
ENVIRONMENT = REPOSITORY / ".venv" / "convert"
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
TENSORRT_ENVIRONMENT = REPOSITORY / ".venv" / "tensorrt"
TENSORRT_REQUIREMENTS = Path(__file__).with_name("tensorrt_requirements.txt")

_OTHER_ENVIRONMENTS = (
    # Variables by which the environment of this process would leak into the other one.
    *("_ROS_WHEELS_BOOTSTRAP_COMPLETE", "LD_LIBRARY_PATH", "AMENT_PREFIX_PATH"),
    *("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_USER"),
)


def fingerprint(requirements: Path = REQUIREMENTS) -> str:
    """What an environment that is up to date was made from."""
    content = f"{sys.version}\n{requirements.read_text(encoding='utf-8')}"
    return hashlib.sha256(content.encode()).hexdigest()


def is_ready(environment: Path = ENVIRONMENT, requirements: Path = REQUIREMENTS) -> bool:
    """Whether the environment was made to the end, from these requirements."""
    stamp = environment / "requirements.sha256"
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == fingerprint(requirements)


def make(environment: Path = ENVIRONMENT, requirements: Path = REQUIREMENTS) -> None:
    """Make the environment where it is missing or its requirements have changed.

    Raises:
        BackendError: the packages could not be installed.
    """
    if is_ready(environment, requirements):
        return
    print(f"making {environment.name} (some minutes; up to 2 GB)", flush=True)
    base = getattr(sys, "_base_executable", None) or sys.executable
    target = f"make {environment.name}-env"
    _run([base, "-m", "venv", "--clear", str(environment)], target)
    python = str(environment / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*install, "-r", str(requirements)], target)
    stamp = environment / "requirements.sha256"
    stamp.write_text(fingerprint(requirements), encoding="utf-8")


def change_into(module: str, arguments: list[str], environment: Path = ENVIRONMENT) -> None:
    """Run `module` in the environment of the converters instead of this process.

    Raises:
        BackendError: the environment is missing or not up to date.
    """
    python = environment / "bin" / "python"
    if Path(sys.prefix) == environment or not is_ready(environment):
        raise BackendError(
            "the converters are not installed, or not up to date; do: make convert-env"
        )
    variables = {**clean_variables(os.environ), "PYTHONPATH": str(REPOSITORY)}
    sys.stdout.flush()
    os.execve(python, [str(python), "-m", module, *arguments], variables)


def clean_variables(variables: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in variables.items() if k not in _OTHER_ENVIRONMENTS}


def _run(command: list[str], target: str) -> None:
    done = subprocess.run(
        command, env=clean_variables(os.environ), capture_output=True, text=True, check=False
    )
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
        reason = errors[0].removeprefix("ERROR:").strip() if errors else done.stderr.strip()[-200:]
        raise BackendError(
            f"the packages cannot be installed: {reason or 'pip gave no reason'};"
            f" check the network and do again: {target}"
        )


def main(names: list[str]) -> int:
    """Make the environment `convert` or `tensorrt`; return the exit code."""
    try:
        if names == ["tensorrt"]:
            make(TENSORRT_ENVIRONMENT, TENSORRT_REQUIREMENTS)
        else:
            make()
    except (BackendError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
