# SPDX-License-Identifier: Apache-2.0
"""`mask-detector image`: images in; one line per image and annotated images out."""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mask_detector_ros.cli import options, result_files
from mask_detector_ros.cli.command import print_error
from mask_detector_ros.errors import ImageError, ParameterError, SourceError
from mask_detector_ros.imaging.annotate import annotate
from mask_detector_ros.output_file import check_output, write_output
from mask_detector_ros.parameters import DRAWING_PARAMETERS
from mask_detector_ros.sources import file_path, read_image, scan_folder


@dataclass(frozen=True)
class ImageFile:
    """An image for `mask-detector image` to read, and its path below the output folder."""

    path: Path
    name: Path


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "image",
        help="find and label the faces of images",
        description="Find and label the faces of images; print one line per image. The exit code "
        "is 1 if an image could not be read or written.",
    )
    parser.add_argument(
        "inputs", nargs="+", metavar="IN", help="an image, a folder of images, or a file:// URL"
    )
    parser.add_argument("-o", "--output", metavar="DIR", help="write annotated images there")
    parser.add_argument(
        "--recursive", action="store_true", help="also read the subfolders of a folder"
    )
    result_files.add_result_options(parser, "per image")
    options.add_file_detector_options(parser)
    options.add_options(parser, "drawing", DRAWING_PARAMETERS)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    files = [f for name in arguments.inputs for f in find_images(name, arguments.recursive)]
    inputs = [file.path for file in files]
    targets = plan_outputs(files, arguments.output, arguments.overwrite)
    detector = options.load_detector(arguments)
    privacy = options.option_values(arguments, DRAWING_PARAMETERS)["privacy"]
    failures = full = overrun = 0
    # The bar would mix with the result lines if both go to one terminal.
    hide_bar = len(files) < 2 or sys.stdout.isatty() or None
    others = filter(None, targets)
    with result_files.ResultFiles(arguments, inputs, detector.label_names, others) as results:
        bar = tqdm(inputs, unit="image", disable=hide_bar)
        for path, target in zip(bar, targets, strict=True):
            try:
                image = read_image(path, detector.max_image_pixels)
                faces = detector(image)
                if target is not None:
                    write_image(target, annotate(image, faces, privacy))
            except (SourceError, ImageError) as error:
                failures += 1
                print_error(str(error))
                continue
            full += 0 < arguments.max_faces <= len(faces)
            overrun += detector.overrun is not None
            height, width = image.shape[:2]
            record = {**result_files.name_record(path), "width": width, "height": height}
            results.add(record, (height, width), faces)
            if not arguments.json:
                print(f"{path}: {options.describe_counts(faces.count_labels())}")
    for count, what in (
        (full, f"reached --max-faces {arguments.max_faces}"),
        (overrun, f"exceeded --max-candidates {arguments.max_candidates}"),
    ):
        if count:
            print(f"{count} images {what}; some faces may be missing", file=sys.stderr)
    if failures:
        print_error(f"{failures} of {len(files)} images failed")
    return 1 if failures else 0


def find_images(name: str, recursive: bool) -> list[ImageFile]:
    """Find the images for `mask-detector image`: the file itself, or those of a folder; files left
    out are reported on stderr."""
    path = file_path(name)
    if not path.exists():
        raise SourceError(f"{path} does not exist; give an image or a folder of images")
    if not path.is_dir():
        return [ImageFile(path, Path(path.name))]
    folder = scan_folder(path, recursive)
    if folder.left_out:
        advice = "; --recursive reads subfolders" if folder.subfolders else ""
        print(f"left out of {path}: {folder.left_out}{advice}", file=sys.stderr)
    return [ImageFile(image, image.relative_to(path)) for image in folder.images]


def plan_outputs(files: list[ImageFile], output: str | None, overwrite: bool) -> list[Path | None]:
    """Choose the path of each annotated image; never that of an input or of another output.

    Raises:
        ParameterError: one would replace an input, or an existing file without `overwrite`.
    """
    if output is None:
        return [None] * len(files)
    folder = result_files.output_path(output)
    inputs = {identify(file.path) for file in files} - {None}
    taken: set[Path] = set()
    targets: list[Path | None] = []
    for file in files:
        place, suffix = folder / file.name.parent, writable_suffix(file.path)
        target, number = place / f"{file.path.stem}{suffix}", 1
        while target in taken:
            number += 1
            target = place / f"{file.path.stem}_{number}{suffix}"
        if identify(target) in inputs:
            raise ParameterError(
                f"{target} is an input and would be overwritten; give another folder with -o"
            )
        check_output(target, overwrite=overwrite, advice="give another folder with -o")
        taken.add(target)
        targets.append(target)
    try:
        for parent in {target.parent for target in taken}:
            parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParameterError(f"cannot make the folder {folder} ({error.strerror})") from error
    return targets


def identify(path: Path) -> tuple[int, int] | None:
    """The identity of an image file under all its names; None if it does not exist."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def writable_suffix(path: Path) -> str:
    """The suffix of the annotated image: the same, or .png if OpenCV cannot write that format."""
    if path.suffix.lower() == ".jfif":
        return ".jpg"
    # Only one frame of an animation is annotated, and 256 colours would degrade it.
    writable = cv2.haveImageWriter(f"x{path.suffix.lower()}") and path.suffix.lower() != ".gif"
    return path.suffix if writable else ".png"


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Write an annotated image in the format of its suffix.

    Raises:
        SourceError: it cannot be written, or not in that format.
    """
    try:
        # cv2.imwrite cannot open every Unicode path on every system.
        data = cv2.imencode(path.suffix.lower(), image)[1]
    except cv2.error as error:
        raise SourceError(f"cannot write {path} as {path.suffix} ({error.err})") from error
    write_output(path, data.tobytes())
