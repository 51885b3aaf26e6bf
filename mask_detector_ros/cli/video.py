# SPDX-License-Identifier: Apache-2.0
"""`mask-detector video`: a video, folder, camera or stream in; an annotated video and results
out."""

from __future__ import annotations

import argparse
import math
import sys
import time
import webbrowser
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mask_detector_ros.cli import options
from mask_detector_ros.cli.command import INTERRUPTED, StopRequest, print_error
from mask_detector_ros.cli.frame_reader import DEFAULT_RATE, FrameReader, Totals
from mask_detector_ros.cli.result_files import ResultFiles, add_result_options, output_path
from mask_detector_ros.errors import ParameterError
from mask_detector_ros.imaging.annotate import annotate
from mask_detector_ros.imaging.video_encoders import VIDEO_SUFFIXES, encoder_note
from mask_detector_ros.imaging.video_writer import VideoWriter
from mask_detector_ros.output_file import check_output
from mask_detector_ros.parameters import DRAWING_PARAMETERS, TRACKING_PARAMETERS
from mask_detector_ros.sources import FrameSource, hide_passwords, is_live, open_source, source_path
from mask_detector_ros.sources.captures import VideoSource
from mask_detector_ros.sources.images import ImagesSource
from mask_detector_ros.sources.live import ReconnectingSource

if TYPE_CHECKING:
    from mask_detector_ros.live_view import LiveView

IMAGES_SIZE = (960, 720)
"""Size of the output for a folder of images, which differ in size."""

LONGEST_STILL = 10.0
"""Maximum length in the output of a gap in a live source, in seconds."""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "video",
        help="find and label the faces of a video",
        description="Find and label the faces of every frame of a video, a folder of images, a "
        "camera or a stream. Ctrl-C or SIGTERM ends it and keeps what was written. A "
        "live source gives its newest frame. The exit code is 1 if a file is cut "
        "off, a stream was lost or an output is incomplete, and 130 if a file was "
        "interrupted.",
    )
    parser.add_argument(
        "input", metavar="IN", help="video file, folder, /dev/videoN, URL, or `sample`"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT.mp4",
        help="write the annotated video to this file: H.264 in .mp4, .mov and .mkv, VP9 in .webm; "
        "the sound of a file is kept",
    )
    parser.add_argument("--frames", type=int, metavar="N", help="stop after N frames")
    parser.add_argument(
        "--every-frame",
        action="store_true",
        help="process every frame of a live source, however late",
    )
    parser.add_argument(
        "--reconnect",
        action="store_true",
        help="when a live source is lost, wait for it and continue",
    )
    parser.add_argument(
        "--recursive", action="store_true", help="also read the subfolders of a folder"
    )
    parser.add_argument(
        "--view",
        action="store_true",
        help="show image, boxes and counts live in a web page (needs rerun-sdk)",
    )
    parser.add_argument(
        "--rrd",
        metavar="FILE.rrd",
        help="write image, boxes and counts to a file that `rerun` shows later",
    )
    add_result_options(parser, "per frame")
    options.add_file_detector_options(parser)
    options.add_options(parser, "tracking", TRACKING_PARAMETERS)
    options.add_options(parser, "drawing", DRAWING_PARAMETERS)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if arguments.frames is not None and arguments.frames < 1:
        raise ParameterError(f"--frames must be at least 1, got {arguments.frames}")
    path = source_path(arguments.input)
    is_folder = path is not None and path.is_dir()
    film = None if is_folder else path
    output = check_output_option(arguments, film)
    others = [] if output is None else [output]
    others += [output_path(arguments.rrd)] if arguments.rrd else []
    stop = StopRequest()
    detector = options.load_detector(arguments, lambda: stop.requested)
    privacy = options.option_values(arguments, DRAWING_PARAMETERS)["privacy"]
    tracking = options.option_values(arguments, TRACKING_PARAMETERS)
    if is_folder:
        # Photographs are independent: tracks must not continue from one to the next.
        tracking["tracking"] = False
    stream = detector.stream(**tracking)
    totals = Totals(dict.fromkeys(detector.label_names, 0))
    with ExitStack() as stack:
        stack.enter_context(stop)
        with stop.interrupting():
            source = stack.enter_context(open_input(arguments))
        results = stack.enter_context(
            ResultFiles(arguments, [film] if film else [], detector.label_names, others)
        )
        reader = FrameReader(source, stop, arguments.frames)
        writer = None
        if output is not None:
            still = LONGEST_STILL if source.live else math.inf
            size = IMAGES_SIZE if is_folder else None
            writer = VideoWriter(output, source.rate or DEFAULT_RATE, size, film, still)
            stack.callback(lambda: writer.close(complete=reader.outcome == "end"))
        view = open_view(arguments, film, detector.label_names)
        if view is not None:
            stack.callback(view.close)
        for frame, seconds in reader:
            start = time.perf_counter()
            faces = stream(frame.image, seconds)
            totals.add(faces, time.perf_counter() - start)
            totals.overrun += detector.overrun is not None
            if writer is not None:
                missed = stream.unseen_boxes()
                writer.write(annotate(frame.image, faces, privacy, missed), seconds)
            if view is not None:
                view.show(frame.image, faces, seconds)
            record = {"frame": totals.frames - 1, "name": frame.name, "time": round(seconds, 3)}
            results.add(record, frame.image.shape[:2], faces)
    if reader.outcome == "interrupted":
        kept = f"interrupted after {totals.frames} frames; what was written is kept"
        print(kept, file=sys.stderr)
    summary = totals.describe(source)
    if tracking["tracking"]:
        summary += f"; people: {options.describe_counts(stream.count_people(), 'nobody')}"
    print(summary, file=sys.stderr if arguments.json else sys.stdout)
    is_full = 0 < arguments.max_faces <= totals.most_faces
    for count, what in (
        ("some" if is_full else "", f"reached --max-faces {arguments.max_faces}"),
        (totals.overrun, f"exceeded --max-candidates {arguments.max_candidates}"),
    ):
        if count:
            print(f"{count} frames {what}; some faces may be missing", file=sys.stderr)
    return exit_code(reader, totals, arguments.input)


def exit_code(reader: FrameReader, totals: Totals, name: str) -> int:
    """Exit code of `mask-detector video`: 0 if the result is complete; otherwise stderr says what
    is missing."""
    source = reader.source
    if source.skipped:
        if isinstance(source, VideoSource):
            print_error(
                f"{hide_passwords(name)} ends after {totals.frames} of"
                f" {source.frame_count or 'more'} frames: it is damaged or was cut off"
            )
        else:
            print_error(f"{source.skipped} of {source.frame_count} images could not be read")
        return 1
    has_end = not source.live and source.frame_count is not None
    if reader.outcome == "interrupted" and has_end:
        return INTERRUPTED
    return 1 if reader.outcome == "lost" else 0


def check_output_option(arguments: argparse.Namespace, film: Path | None) -> Path | None:
    """The path of the annotated video: with a video's suffix, not the input, and not an existing
    file."""
    if arguments.output is None:
        return None
    output = output_path(arguments.output)
    if output.suffix.lower() not in VIDEO_SUFFIXES:
        suffixes = ", ".join(VIDEO_SUFFIXES[1:])
        raise ParameterError(f"-o takes a file name that ends in .mp4, {suffixes}, got {output}")
    check_output(output, [] if film is None else [film], arguments.overwrite)
    if note := encoder_note(output):
        print(f"note: {note}", file=sys.stderr)
    return output


def open_view(
    arguments: argparse.Namespace, film: Path | None, label_names: tuple[str, ...]
) -> LiveView | None:
    """Open the live view that the options of `mask-detector video` select; its address goes to
    stderr."""
    if not arguments.view and arguments.rrd is None:
        return None
    from mask_detector_ros.live_view import LiveView

    file = None
    if arguments.rrd is not None:
        file = output_path(arguments.rrd)
        advice = "give another name with --rrd"
        check_output(file, [film] if film else [], arguments.overwrite, advice)
    view = LiveView(label_names, arguments.view, file)
    if view.url:
        print(f"live view: {view.url}", file=sys.stderr, flush=True)
        if sys.stdout.isatty():
            webbrowser.open(view.url)
    return view


def open_input(arguments: argparse.Namespace) -> FrameSource:
    """Open the source that `mask-detector video` reads; files left out of a folder are reported on
    stderr."""

    def open_again() -> FrameSource:
        return open_source(
            arguments.input, every_frame=arguments.every_frame, recursive=arguments.recursive
        )

    if arguments.reconnect and is_live(arguments.input):
        return ReconnectingSource(
            open_again, lambda reason: print(f"{reason}. Waiting for it", file=sys.stderr)
        )
    source = open_again()
    if isinstance(source, ImagesSource) and source.left_out:
        print(f"left out of {arguments.input}: {source.left_out}", file=sys.stderr)
    return source
