# SPDX-License-Identifier: Apache-2.0
"""`python -m mask_detector_ros`: the `mask-detector` command."""

import sys

from mask_detector_ros.cli import main

sys.exit(main())
