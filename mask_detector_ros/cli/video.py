"""`mask-detector video`: a video, folder, camera or stream in, an annotated mp4 and a log out."""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mask_detector_ros.cli.options import (
    add_detector_options,
    add_options,
    describe_counts,
    load_detector,
    option_values,
)
from mask_detector_ros.errors import ParameterError
from mask_detector_ros.imaging.annotate import annotate
from mask_detector_ros.imaging.video_writer import VideoWriter
from mask_detector_ros.parameters import DRAWING_PARAMETERS, TRACKING_PARAMETERS
from mask_detector_ros.sources import open_source

DEFAULT_RATE = 15.0
"""Frames a second of the output where the input has no rate of its own."""

PICTURES_SIZE = (960, 720)
"""Of the output for a folder of pictures, which differ in size."""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "video",
        help="find and label the faces of a video",
        description="Find and label the faces of every frame of a video, a folder of pictures,"
        " a camera or a stream (Ctrl-C ends it and keeps what was written).",
    )
    parser.add_argument(
        "input", metavar="IN", help="video file, folder, /dev/videoN, URL, or `sample`"
    )
    parser.add_argument("-o", "--output", metavar="OUT.mp4", help="write the annotated video there")
    parser.add_argument("--json", action="store_true", help="print one JSON object a frame")
    parser.add_argument("--frames", type=int, metavar="N", help="stop after N frames")
    add_detector_options(parser)
    add_options(parser, "tracking", TRACKING_PARAMETERS)
    add_options(parser, "drawing", DRAWING_PARAMETERS)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if arguments.frames is not None and arguments.frames < 1:
        raise ParameterError(f"--frames must be at least 1, got {arguments.frames}")
    check_output(arguments.input, arguments.output)
    detector = load_detector(arguments)
    privacy = option_values(arguments, DRAWING_PARAMETERS)["privacy"]
    tracking = option_values(arguments, TRACKING_PARAMETERS)
    is_folder = Path(arguments.input).expanduser().is_dir()
    if is_folder:
        # Nobody walks from one photograph to the next.
        tracking["tracking"] = False
    stream = detector.stream(**tracking)
    totals = dict.fromkeys(detector.label_names, 0)
    frames, seconds = 0, 0.0
    with ExitStack() as stack:
        source = stack.enter_context(open_source(arguments.input))
        writer = None
        rate = source.rate or DEFAULT_RATE
        if arguments.output:
            size = PICTURES_SIZE if is_folder else None
            output = Path(arguments.output).expanduser()
            writer = stack.enter_context(VideoWriter(output, rate, size))
        bar = stack.enter_context(
            tqdm(
                total=arguments.frames or source.frame_count,
                unit="frame",
                disable=not sys.stderr.isatty(),
            )
        )
        try:
            while arguments.frames is None or frames < arguments.frames:
                frame = source.read()
                if frame is None:
                    break
                start = time.perf_counter()
                faces = stream(frame.image, start if source.live else frames / rate)
                seconds += time.perf_counter() - start
                for label in faces.labels:
                    totals[label] += 1
                if writer:
                    missed = stream.missed_boxes()
                    writer.write(annotate(frame.image, faces, privacy, missed))
                if arguments.json:
                    record = {"frame": frames, "name": frame.name, "faces": faces.to_records()}
                    print(json.dumps(record), flush=True)
                frames += 1
                bar.update()
        except KeyboardInterrupt:
            print(f"interrupted after {frames} frames; what was written is kept", file=sys.stderr)
    pace = f", {frames / seconds:.1f} frames/s in the detector" if seconds else ""
    summary = f"{frames} frames{pace}; faces seen: {describe_counts(totals)}"
    if tracking["tracking"]:
        summary += f"; people: {describe_counts(stream.count_people(), 'nobody')}"
    print(summary, file=sys.stderr if arguments.json else sys.stdout)
    return 0


def check_output(source: str, output: str | None) -> None:
    """Refuse an output that is not an mp4 file or that is the input."""
    if output is None:
        return
    if not output.lower().endswith(".mp4"):
        raise ParameterError(f"-o takes a file name that ends in .mp4, got {output}")
    if Path(output).expanduser().resolve() == Path(source).expanduser().resolve():
        raise ParameterError(f"{output} is the input; give another name with -o")
