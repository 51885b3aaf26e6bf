# SPDX-License-Identifier: Apache-2.0
"""Write results to machine-readable files: JSON lines, CSV and COCO."""

from __future__ import annotations

import argparse
import csv
import json
import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote_from_bytes

from mask_detector_ros.errors import ParameterError, SourceError
from mask_detector_ros.faces import Faces
from mask_detector_ros.output_file import OutputFile, check_output, require_distinct, writing
from mask_detector_ros.sources import expand_home

CSV_COLUMNS = (
    *("file", "frame", "time", "xmin", "ymin", "xmax", "ymax", "label"),
    *("probability", "score", "track_id"),
)
"""Columns of the CSV: those that `mask-detector evaluate` reads as labels, and more."""

KEYPOINTS = ("left_eye", "right_eye", "nose", "left_mouth_corner", "right_mouth_corner")


def add_result_options(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--json`, `--csv` and `--coco` to a command, with an object or rows for each image or
    frame."""
    parser.add_argument("--json", action="store_true", help=f"print one JSON object {what}")
    parser.add_argument("--csv", metavar="FILE", help="write one row per face to this CSV file")
    parser.add_argument("--coco", metavar="FILE", help="write all faces to this COCO JSON file")
    parser.add_argument("--overwrite", action="store_true", help="replace existing output files")


class ResultFiles:
    """Writes the faces of each image to the result files that the options name.

    Args:
        arguments: parsed, with the options of `add_result_options`.
        inputs: files that no output may replace.
        others: the command's other outputs.

    Raises:
        ParameterError: an output is an input or another output, or it exists and `--overwrite` is
            not given.
        SourceError: an output cannot be written.
    """

    def __init__(
        self,
        arguments: argparse.Namespace,
        inputs: list[Path],
        label_names: tuple[str, ...],
        others: Iterable[Path] = (),
    ) -> None:
        self._json = arguments.json
        self._files: list[CsvFile | CocoFile] = []
        given = {"--csv": arguments.csv, "--coco": arguments.coco}
        paths = {option: output_path(name) for option, name in given.items() if name is not None}
        require_distinct([*others, *paths.values()])
        for option, path in paths.items():
            check_output(path, inputs, arguments.overwrite, f"give another name with {option}")
        with ExitStack() as stack:
            for option, path in paths.items():
                output = stack.enter_context(OutputFile(path))
                is_csv = option == "--csv"
                self._files.append(CsvFile(output) if is_csv else CocoFile(output, label_names))
            self._stack = stack.pop_all()

    def add(self, record: dict[str, Any], size: tuple[int, int], faces: Faces) -> None:
        """Write the faces of one image to the result files.

        Args:
            record: the fields of the JSON line besides `faces`; `file`, `frame` and `time` also go
                into the other files.
            size: (height, width).
        """
        if self._json:
            print(json.dumps({**record, "faces": faces.to_records()}), flush=True)
        for file in self._files:
            file.add(record, size, faces)

    def close(self) -> None:
        """Move the result files to their final paths. Raises SourceError if one is incomplete."""
        with self._stack:
            for file in self._files:
                file.close()

    def __enter__(self) -> ResultFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class CsvFile:
    """A CSV result file with one row per face."""

    def __init__(self, output: OutputFile) -> None:
        self._output = output
        with writing(output.path):
            self._file: TextIO = output.partial.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._write(CSV_COLUMNS)

    def add(self, record: dict[str, Any], size: tuple[int, int], faces: Faces) -> None:
        name = record.get("file_uri", record.get("file", ""))
        time = "" if record.get("time") is None else f"{record['time']:.3f}"
        for face in faces.to_records():
            probability = face["probabilities"].get(face["label"], "")
            self._write(
                (
                    *(name, record.get("frame", ""), time, *face["box"], face["label"]),
                    *(probability, face["score"], face.get("track_id", "")),
                )
            )

    def _write(self, row: tuple[Any, ...]) -> None:
        with writing(self._output.path):
            self._writer.writerow(row)

    def close(self) -> None:
        with writing(self._output.path):
            self._file.close()
        self._output.commit()


class CocoFile:
    """A COCO result file with the detections of all images, the landmarks as keypoints."""

    def __init__(self, output: OutputFile, label_names: tuple[str, ...]) -> None:
        self._output = output
        self._categories = {name: number for number, name in enumerate(label_names, 1)}
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, record: dict[str, Any], size: tuple[int, int], faces: Faces) -> None:
        number = len(self._images) + 1
        name = record.get("file_uri", record.get("file", record.get("name")))
        image = {"id": number, "file_name": name, "width": size[1], "height": size[0]}
        if record.get("time") is not None:
            image["time"] = record["time"]
        self._images.append(image)
        for face in faces.to_records():
            xmin, ymin, xmax, ymax = face["box"]
            annotation = {
                "id": len(self._annotations) + 1,
                "image_id": number,
                "category_id": self._categories.get(face["label"], 0),
                "bbox": [xmin, ymin, round(xmax - xmin, 2), round(ymax - ymin, 2)],
                "area": round((xmax - xmin) * (ymax - ymin), 2),
                "iscrowd": 0,
                "score": face["score"],
                "keypoints": [v for point in face["landmarks"] for v in (*point, 2)],
                "num_keypoints": len(face["landmarks"]),
            }
            self._annotations.append(annotation | _only(face, "track_id", "probabilities"))

    def close(self) -> None:
        categories = [
            {"id": number, "name": name, "supercategory": "face", "keypoints": KEYPOINTS}
            for name, number in self._categories.items()
        ]
        content = {
            "images": self._images,
            "annotations": self._annotations,
            "categories": categories,
        }
        with writing(self._output.path):
            self._output.partial.write_text(json.dumps(content) + "\n", encoding="utf-8")
        self._output.commit()


def output_path(name: str) -> Path:
    """The path of the result file that an option names. Raises SourceError if it is empty."""
    if not name:
        raise SourceError("an output has an empty name; give a file name")
    if name == "-":
        raise ParameterError("- names no file; write /dev/stdout, or ./- for a file of that name")
    path = expand_home(name)
    # `new/../clip.mp4` is clip.mp4 once the folder exists, so resolve it before.
    return path.resolve() if ".." in path.parts else path


def name_record(path: Path) -> dict[str, str]:
    """The fields that name the image in a JSON result: `file`, and `file_uri` if `file` cannot name
    it exactly.

    A name whose bytes are not UTF-8 is shown as if they were Latin-1. Its URI is exact, and the
    commands accept it as an input.
    """
    name = os.fsencode(path)
    try:
        return {"file": name.decode()}
    except UnicodeDecodeError:
        absolute = os.fsencode(path.absolute())
        return {"file": name.decode("latin-1"), "file_uri": "file://" + quote_from_bytes(absolute)}


def _only(record: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: record[name] for name in names if name in record}
