# SPDX-License-Identifier: Apache-2.0
"""Recognise files that hold sound and no video; of those with a cover, FFmpeg would play that."""

import re
from pathlib import Path

from mask_detector_ros.sources.cut_off_videos import movie_boxes

HEAD_BYTES = 1 << 16
"""Bytes in which a container names its tracks; MP4 does so in a box of its own."""

MAX_MOVIE_BOX = 1 << 26
"""Maximum size of that box: 64 MB, of a film of many hours."""

_SOUND = re.compile(
    rb"ID3|fLaC|RIFF....WAVE|FORM....AIF[FC]|\.snd|MThd|#!AMR|\x0b\x77|\xff[\xe2-\xe7\xf0-\xff]"
    rb"|....ftypM4[AB] ",
    re.DOTALL,
)
"""Beginnings of MP3, FLAC, WAV, AIFF, AU, MIDI, AMR, AC-3, MPEG audio and M4A files."""

_TRACKS = (
    # The file's beginning, the mark of a track with sound, and that of one with video.
    (rb"\x1aE\xdf\xa3", rb"\x86.A_[A-Z]", rb"\x86.V_[A-Z]"),
    (rb"RIFF....AVI ", rb"strh....auds", rb"strh....vids"),
    (rb"OggS", rb"OpusHead|\x01vorbis|\x7fFLAC|Speex  ", rb"\x80theora|OVP80|BBCD|\x01video"),
    (rb"FLV.[\x04]", rb"FLV", rb"FLV.[\x01\x05]"),
    (rb"....(?:ftyp|moov|mdat|free|wide)", rb"hdlr.{8}soun", rb"hdlr.{8}vide"),
)


def holds_only_sound(path: Path) -> bool:
    """Whether a file is known to hold only sound, without video."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if _SOUND.match(head):
        return True
    for start, sound, video in _TRACKS:
        if re.match(start, head, re.DOTALL):
            tracks = _movie_box(path) if sound.startswith(b"hdlr") else head
            has = [re.search(mark, tracks, re.DOTALL) for mark in (sound, video)]
            return has[0] is not None and has[1] is None
    return False


def _movie_box(path: Path) -> bytes:
    """The box of an MP4 or QuickTime file that describes its tracks; empty if there is none."""
    with path.open("rb") as file:
        for kind, begin, end in movie_boxes(file, path.stat().st_size):
            if kind == b"moov":
                file.seek(begin)
                return file.read(min(end - begin, MAX_MOVIE_BOX))
    return b""
