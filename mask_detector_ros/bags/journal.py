"""The journal of an unfinished run: what was seen in each image, so that no image is looked
at twice.

Everything else, such as tracks and drawings, is made again from it, and comes out the same.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mask_detector_ros.errors import ParameterError
from mask_detector_ros.faces import Faces


class Journal:
    """A file with one line an image, begun anew or gone on with.

    Args:
        path: of the file.
        identity: what the run depends on; that of an earlier run must be the same.

    Raises:
        ParameterError: the file is of another run.
    """

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self._path = path
        # As it will be read: tuples are lists in JSON.
        identity = json.loads(json.dumps(identity))
        content = path.read_bytes() if path.is_file() else b""
        # What was being written when the run was ended has no end of line.
        content = content[: content.rfind(b"\n") + 1]
        known = []
        for line in content.splitlines():
            try:
                known.append(json.loads(line))
            except ValueError:
                # A disk that failed: what follows is made again.
                break
        content = b"".join(content.splitlines(keepends=True)[: len(known)])
        if known and known[0] != identity:
            differs = sorted(k for k in identity if known[0].get(k) != identity[k])
            raise ParameterError(
                f"{path.parent} holds an unfinished run of another kind (its"
                f" {', '.join(differs)} differ); repeat that command, or delete the folder"
            )
        self._seen = known[1:]
        self._next = 0
        self._file = path.open("ab")
        self._file.truncate(len(content))
        if not known:
            self._write(identity)

    @property
    def count(self) -> int:
        """How many images are known already."""
        return len(self._seen)

    def recall(self) -> Faces | str | None:
        """What was seen in the next image: faces, or why it could not be used; None if unknown."""
        if self._next >= len(self._seen):
            return None
        entry = self._seen[self._next]
        self._next += 1
        if "error" in entry:
            return str(entry["error"])
        return Faces(
            np.array(entry["boxes"], np.float32),
            np.array(entry["scores"], np.float32),
            np.array(entry["landmarks"], np.float32),
            np.array(entry["probabilities"], np.float32),
            tuple(entry["label_names"]),
            label_roles=tuple(entry.get("label_roles", ())),
        )

    def note(self, seen: Faces | str) -> None:
        """Keep what was seen in an image that was not known."""
        if isinstance(seen, str):
            self._write({"error": seen})
            return
        names = ("boxes", "scores", "landmarks", "probabilities")
        # A float32 is the same again after JSON, which writes numbers to their last digit.
        arrays = {name: getattr(seen, name).tolist() for name in names}
        self._write({**arrays, "label_names": seen.label_names, "label_roles": seen.label_roles})

    def close(self) -> None:
        """Leave the file as it is."""
        self._file.close()

    def _write(self, entry: dict[str, Any]) -> None:
        self._file.write(json.dumps(entry).encode() + b"\n")
        self._file.flush()
