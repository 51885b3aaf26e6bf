# SPDX-License-Identifier: Apache-2.0
"""The demo without ROS: the library alone writes the same files."""

import contextlib
import json
import sys
import time

from mask_detector_ros.cli.command import StopRequest
from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.errors import SourceError
from mask_detector_ros.imaging.annotate import annotate
from mask_detector_ros.imaging.video_writer import VideoWriter
from mask_detector_ros.live_view import LiveView
from mask_detector_ros.output_file import OutputFile, writing
from mask_detector_ros.ros.demo.files import PHOTOGRAPH_SIZE, DemoFiles, DemoSource
from mask_detector_ros.sources import open_source

FRAME_ID = "camera"
LONGEST_STILL = 10.0
"""Maximum length in the video of a gap in a live source, in seconds."""


def run_library(source: DemoSource, files: DemoFiles, view: bool = False) -> None:
    """Run the demo without ROS: play the source through the library and write `files`. Raises
    SourceError on failure."""
    detector = MaskDetector.load()
    stream = detector.stream(tracking=not source.is_folder)
    size = PHOTOGRAPH_SIZE if source.is_folder else None
    sound = None if source.is_folder else source.path
    still = LONGEST_STILL if source.is_live else float("inf")
    began = time.time()
    watch = LiveView(detector.label_names) if view else None
    if watch is not None:
        print(f"live view: {watch.url}", file=sys.stderr, flush=True)
    with (
        watch or contextlib.nullcontext(),
        StopRequest() as stop,
        OutputFile(files.log) as log,
        open_source(source.name) as frames,
        VideoWriter(files.video, source.rate, size, sound, still) as video,
    ):
        with writing(files.log), log.partial.open("w", encoding="utf-8") as lines:
            try:
                for number, frame in enumerate(frames):
                    seconds = number / source.rate if frame.time is None else frame.time
                    if stop.requested or seconds >= (source.duration or float("inf")):
                        break
                    start = time.perf_counter()
                    faces = stream(frame.image, seconds)
                    passed = time.perf_counter() - start
                    video.write(annotate(frame.image, faces), seconds)
                    if watch is not None:
                        watch.show(frame.image, faces, seconds)
                    record = {
                        "stamp": round(began + seconds, 6),
                        "frame_id": FRAME_ID,
                        "latency_ms": round(1000 * passed, 3),
                        "faces": faces.to_records(),
                    }
                    if frame.truth is not None:
                        record["truth"] = frame.truth.to_records()
                    lines.write(json.dumps(record) + "\n")
            except SourceError as error:
                if not source.is_live:
                    raise
                print(f"{error}; what was recorded is kept", file=sys.stderr)
        log.commit()
    if stop.requested:
        print("interrupted; what was recorded is kept", file=sys.stderr)
