# SPDX-License-Identifier: Apache-2.0
"""The two portraits of the scene: where they are installed, and points measured on them."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mask_detector_ros.errors import SourceError

Points = tuple[tuple[float, float], ...]


PIP_NAMES = {"skimage": "scikit-image"}
"""Packages that pip knows by another name."""


@dataclass(frozen=True)
class Portrait:
    """A photograph of one person. All points are (x, y) in its pixels, measured by hand.

    Attributes:
        package: the Python package that contains the photograph.
        debian_package: the Debian package that contains it if `package` is from Debian.
        file: its path inside that package.
        shared_file: Debian's path for it; empty where Debian keeps it inside the package.
        centre, half_size: the face oval, from hairline to chin and from ear to ear.
        landmarks: left eye, right eye, nose, left and right corner of the mouth.
        outline: head and shoulders, down to the straight cut at the row `waist`.
        skin: face, ears and neck.
        collar: the row below which everything but skin is clothing.
        over_nose: upper edge of a mask worn correctly, left to right.
        under_nose: upper edge of a mask worn below the nose, left to right.
        jaw: lower edge of a mask, left to right.
        ears: ends of the visible loops: upper left, lower left, upper right, lower right.
    """

    package: str
    debian_package: str
    file: str
    shared_file: str
    centre: tuple[float, float]
    half_size: tuple[float, float]
    landmarks: Points
    outline: Points
    waist: int
    skin: Points
    collar: int
    over_nose: Points
    under_nose: Points
    jaw: Points
    ears: Points

    @property
    def face_height(self) -> float:
        """Height of the portrait's face oval in pixels of the photograph."""
        return 2 * self.half_size[1]

    def find(self) -> Path:
        """Find the installed file of a portrait.

        Raises:
            SourceError: the package or the file is not installed.
        """
        spec = find_spec(self.package)
        folders = (spec.submodule_search_locations or ()) if spec else ()
        candidates = [Path(folder) / self.file for folder in folders]
        if self.shared_file:
            candidates.append(Path(self.shared_file))
        for path in candidates:
            if path.is_file():
                return path
        raise SourceError(
            f"The sample scene needs the portrait {Path(self.file).name} of the package "
            f"{self.package}, which is not installed: run "
            f"pip install {PIP_NAMES.get(self.package, self.package)} (or apt install "
            f"{self.debian_package})"
        )

    def load(self) -> NDArray[np.uint8]:
        """Read the photograph of a portrait, (H, W, 3) uint8 BGR.

        Raises:
            SourceError: it is not installed, or cannot be decoded.
        """
        path = self.find()
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            raise SourceError(f"{path} is not an image: install {self.package} again")
        return np.asarray(image, np.uint8)


# fmt: off
# NASA's portrait of Eileen Collins (public domain), 512x512.
ASTRONAUT = Portrait(
    package="skimage",
    debian_package="python3-skimage",
    file="data/astronaut.png",
    shared_file="",
    centre=(225, 126),
    half_size=(48, 53),
    landmarks=((202.5, 101), (246.5, 103), (225, 126), (205, 140.5), (243, 141.5)),
    outline=(
        (278, 33), (250, 19), (228, 16), (200, 24), (188, 36), (173, 44), (158, 56), (153, 69),
        (155, 97), (159, 106), (170, 117), (174, 128), (181, 132), (184, 148), (172, 149),
        (154, 151), (138, 160), (128, 173), (126, 187), (121, 190), (119, 200), (90, 227),
        (77, 235), (63, 249), (44, 283), (40, 295), (39, 306), (34, 316), (30, 332), (28, 352),
        (362, 352), (361, 330), (357, 324), (356, 303), (352, 289), (347, 283), (344, 272),
        (320, 244), (303, 233), (299, 220), (291, 206), (283, 196),
        (253, 178), (253, 168), (260, 153), (266, 139),
        (277, 133), (293, 112), (300, 92), (300, 79), (295, 57), (287, 42),
    ),
    waist=352,
    skin=(
        (186, 89), (189, 80), (202, 81), (230, 80), (250, 86), (267, 90), (271, 112), (272, 126),
        (281, 129), (276, 136), (268, 136), (264, 152), (257, 167), (254, 186), (242, 190),
        (205, 186), (187, 177), (184, 147), (181, 131), (171, 120), (180, 117), (181, 102),
    ),
    collar=146,
    over_nose=(
        (183, 127), (196, 122), (213, 115), (224.5, 111), (236, 116), (253, 123), (268, 130),
    ),
    under_nose=(
        (184, 140), (196, 137), (211, 135), (225, 134), (239, 136), (253, 139), (266, 143),
    ),
    jaw=((184, 149), (192, 167), (206, 180), (223, 184), (240, 180), (255, 168), (263, 152)),
    ears=((176, 118), (178, 131), (272, 122), (269, 134)),
)

# The US Navy's portrait of Grace Hopper (public domain), 512x600.
HOPPER = Portrait(
    package="matplotlib",
    debian_package="python-matplotlib-data",
    file="mpl-data/sample_data/grace_hopper.jpg",
    shared_file="/usr/share/matplotlib/mpl-data/sample_data/grace_hopper.jpg",
    centre=(265, 229),
    half_size=(98, 105),
    landmarks=((224, 190), (305, 187), (268, 240), (229, 277), (306, 276)),
    outline=(
        (250, 23), (230, 27), (220, 35), (219, 42), (208, 46), (190, 57), (178, 72), (175, 85),
        (160, 92), (153, 102), (150, 125), (152, 178), (154, 190), (157, 215), (165, 246),
        (168, 262), (163, 272), (165, 284), (177, 292), (195, 297), (202, 308), (201, 317),
        (185, 331), (149, 350), (122, 361), (97, 365), (79, 371), (49, 386), (38, 411), (29, 440),
        (27, 460), (20, 508), (20, 586), (511, 586), (511, 434), (505, 431), (492, 394),
        (458, 375), (419, 365), (367, 343), (334, 318), (335, 306), (346, 298), (359, 281),
        (362, 264), (369, 240), (376, 206), (374, 190), (370, 184), (372, 145), (371, 104),
        (365, 90), (352, 85), (347, 70), (336, 57), (312, 44), (301, 43), (291, 33), (280, 27),
    ),
    waist=586,
    skin=(
        (176, 158), (186, 136), (230, 130), (290, 130), (334, 140), (356, 160), (370, 188),
        (376, 196), (366, 248), (346, 268), (332, 296), (330, 332), (282, 394), (262, 404),
        (242, 396), (206, 348), (204, 312), (190, 272), (182, 272), (168, 256), (154, 200),
        (156, 190),
    ),
    collar=302,
    over_nose=(
        (184, 243), (208, 237), (238, 226), (254, 213), (267, 208), (281, 212), (298, 223),
        (328, 232), (352, 237),
    ),
    under_nose=(
        (188, 264), (212, 260), (240, 257), (268, 256), (296, 257), (324, 258), (350, 260),
    ),
    jaw=((188, 275), (203, 305), (230, 330), (269, 341), (310, 328), (338, 300), (350, 272)),
    ears=((166, 206), (176, 266), (368, 204), (354, 262)),
)
# fmt: on
