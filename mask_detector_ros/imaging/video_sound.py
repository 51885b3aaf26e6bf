# SPDX-License-Identifier: Apache-2.0
"""Copy the sound of a video file into the annotated one, with PyAV."""

from pathlib import Path
from typing import Any

MOVIE_SUFFIXES = (".mp4", ".mov")

COPIED_SOUND = {
    **dict.fromkeys(MOVIE_SUFFIXES, ("aac", "mp3", "opus")),
    ".webm": ("opus", "vorbis"),
    ".mkv": ("aac", "mp3", "opus", "vorbis", "flac", "ac3"),
}
"""Sound codecs that are copied unchanged; others are re-encoded."""


class Sound:
    """Copies the sound of one video file into another that PyAV writes."""

    def __init__(self, source: Path, target: Any, suffix: str) -> None:
        import av

        self._target = target
        self.found = False
        try:
            self._file = av.open(str(source.absolute()))
        except (OSError, av.error.FFmpegError):
            return
        streams = self._file.streams
        if not streams.audio or not streams.video:
            self._file.close()
            return
        self.found = True
        self._input: Any = streams.audio[0]
        video = streams.video[0]
        # The first frame of the video is at 0 in the new file.
        self._start = float((video.start_time or 0) * (video.time_base or 0))
        self._copies = self._input.codec_context.name in COPIED_SOUND[suffix]
        if self._copies:
            self._output = target.add_stream_from_template(self._input)
        else:
            codec, rate = ("libopus", 48000) if suffix == ".webm" else ("aac", self._input.rate)
            self._output = target.add_stream(codec, rate=rate)
        self._packets = self._file.demux(self._input)
        self._next: Any = None

    def copy_until(self, end: float | None) -> None:
        """Write the video's sound before `end`, in seconds of the new file; None for all of it."""
        while self.found:
            packet = self._next or next(self._packets, None)
            self._next = None
            if packet is None:
                return
            begin = 0.0
            if packet.pts is not None:
                begin = float(packet.pts * packet.time_base) - self._start
            if end is not None and begin > end:
                self._next = packet
                return
            self._write(packet, begin)

    def _write(self, packet: Any, begin: float) -> None:
        if not self._copies:
            for frame in packet.decode():
                frame.pts = round(frame.pts - self._start / frame.time_base)
                if frame.pts >= 0:
                    self._target.mux(self._output.encode(frame))
        elif packet.dts is not None and begin >= 0:
            shift = round(self._start / packet.time_base)
            packet.pts -= shift
            packet.dts -= shift
            packet.stream = self._output
            self._target.mux(packet)

    def finish(self, end: float | None) -> None:
        """Write the rest of the video's sound, up to `end` or all of it."""
        if self.found:
            self.copy_until(end)
            if not self._copies:
                self._target.mux(self._output.encode(None))
            self._file.close()
