# SPDX-License-Identifier: Apache-2.0
"""The journal of an unfinished run over a bag: the faces of each image, so that none is processed
twice.

Everything else, such as tracks and drawings, is recomputed from it with the same result.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from mask_detector_ros.errors import ParameterError
from mask_detector_ros.faces import Faces


class Journal:
    """The journal file of a bag, one line per image; it is created or resumed.

    `identity` is everything that the run depends on.

    Raises:
        ParameterError: the file belongs to another run.
    """

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self._path = path
        # As JSON reads it back: tuples become lists.
        identity = json.loads(json.dumps(identity))
        content = path.read_bytes() if path.is_file() else b""
        # A line without an end was interrupted while being written.
        content = content[: content.rfind(b"\n") + 1]
        known = []
        for line in content.splitlines():
            try:
                known.append(json.loads(line))
            except ValueError:
                # The disk failed: recompute what follows.
                break
        content = b"".join(content.splitlines(keepends=True)[: len(known)])
        if known and known[0] != identity:
            differs = sorted(k for k in identity if known[0].get(k) != identity[k])
            raise ParameterError(
                f"{path.parent} holds an unfinished run with other options (its "
                f"{', '.join(differs)} differ); repeat that command, or delete the folder"
            )
        self._seen = known[1:]
        self._next = 0
        self._file = path.open("ab")
        self._file.truncate(len(content))
        if not known:
            self._write(identity)

    @property
    def count(self) -> int:
        """Number of images in the journal."""
        return len(self._seen)

    def next_result(self) -> Faces | str | None:
        """The next image's faces from the journal, or why it is unusable; None if unknown."""
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

    def append(self, seen: Faces | str) -> None:
        """Record the result of a new image in the journal."""
        if isinstance(seen, str):
            self._write({"error": seen})
            return
        names = ("boxes", "scores", "landmarks", "probabilities")
        # JSON writes numbers to the last digit, so a float32 reads back exactly.
        arrays = {name: getattr(seen, name).tolist() for name in names}
        self._write({**arrays, "label_names": seen.label_names, "label_roles": seen.label_roles})

    def close(self) -> None:
        """Close the journal and keep its file."""
        self._file.close()

    def _write(self, entry: dict[str, Any]) -> None:
        self._file.write(json.dumps(entry).encode() + b"\n")
        self._file.flush()
