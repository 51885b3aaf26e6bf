"""`mask-detector image`: pictures in, a line a picture and annotated pictures out."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mask_detector_ros.cli.options import (
    add_detector_options,
    add_options,
    describe_counts,
    load_detector,
    option_values,
)
from mask_detector_ros.errors import ImageError, ParameterError, SourceError
from mask_detector_ros.imaging.annotate import annotate
from mask_detector_ros.parameters import DRAWING_PARAMETERS
from mask_detector_ros.sources import list_images, read_image


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "image",
        help="find and label the faces of pictures",
        description="Find and label the faces of pictures; print a line a picture.",
    )
    parser.add_argument(
        "inputs", nargs="+", metavar="IN", help="a picture, or a folder of pictures"
    )
    parser.add_argument("-o", "--output", metavar="DIR", help="write annotated pictures there")
    parser.add_argument("--json", action="store_true", help="print one JSON object a picture")
    add_detector_options(parser)
    add_options(parser, "drawing", DRAWING_PARAMETERS)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    pictures = [p for name in arguments.inputs for p in find_pictures(Path(name).expanduser())]
    targets = plan_outputs(pictures, arguments.output)
    detector = load_detector(arguments)
    privacy = option_values(arguments, DRAWING_PARAMETERS)["privacy"]
    failures = 0
    # The bar would run into the lines of results where both go to one terminal.
    hide_bar = len(pictures) < 2 or not sys.stderr.isatty() or sys.stdout.isatty()
    for path, target in zip(tqdm(pictures, unit="picture", disable=hide_bar), targets, strict=True):
        try:
            image = read_image(path)
            faces = detector(image)
            if target is not None:
                write_image(target, annotate(image, faces, privacy))
        except (SourceError, ImageError) as error:
            failures += 1
            print(f"error: {error}", file=sys.stderr)
            continue
        if arguments.json:
            height, width = image.shape[:2]
            record = {"file": str(path), "width": width, "height": height}
            print(json.dumps({**record, "faces": faces.to_records()}))
        else:
            print(f"{path}: {describe_counts(faces.count_labels())}")
    if failures:
        print(f"error: {failures} of {len(pictures)} pictures failed", file=sys.stderr)
    return 1 if failures else 0


def find_pictures(path: Path) -> list[Path]:
    """The file itself, or the pictures of a folder."""
    if not path.exists():
        raise SourceError(f"{path} does not exist; give a picture or a folder of pictures")
    return list_images(path) if path.is_dir() else [path]


def plan_outputs(pictures: list[Path], output: str | None) -> list[Path | None]:
    """Where each annotated picture goes; never onto an input or onto another output."""
    if output is None:
        return [None] * len(pictures)
    folder = Path(output).expanduser()
    inputs = {picture.resolve() for picture in pictures}
    taken: set[Path] = set()
    targets: list[Path | None] = []
    for picture in pictures:
        suffix = writable_suffix(picture)
        target, number = folder / f"{picture.stem}{suffix}", 1
        while target in taken:
            number += 1
            target = folder / f"{picture.stem}_{number}{suffix}"
        if target.resolve() in inputs:
            raise ParameterError(f"{target} would be overwritten; give another folder with -o")
        taken.add(target)
        targets.append(target)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParameterError(f"cannot make the folder {folder} ({error.strerror})") from error
    return targets


def writable_suffix(picture: Path) -> str:
    """The suffix of the annotated picture: the same, or .png where OpenCV cannot write that."""
    return picture.suffix if cv2.haveImageWriter(f"x{picture.suffix.lower()}") else ".png"


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Write a picture in the format of its suffix.

    Raises:
        SourceError: it cannot be written, or not in that format.
    """
    try:
        # cv2.imwrite cannot open every Unicode path on every system.
        data = cv2.imencode(path.suffix.lower(), image)[1]
        path.write_bytes(data.tobytes())
    except cv2.error as error:
        raise SourceError(f"cannot write {path} as {path.suffix} ({error.err})") from error
    except OSError as error:
        raise SourceError(f"cannot write {path} ({error.strerror})") from error
