"""Find faces in images and say who wears a mask; as a library, a command and ROS 2 nodes."""

from pkgutil import extend_path

# The generated messages (mask_detector_ros.msg) are installed elsewhere than the source
# tree; without this, tests and nodes run from the source tree could not see them.
__path__ = extend_path(__path__, __name__)

from mask_detector_ros.detector import MaskDetector  # noqa: E402
from mask_detector_ros.faces import Faces  # noqa: E402

__all__ = ["Faces", "MaskDetector"]
__version__ = "0.1.0"
