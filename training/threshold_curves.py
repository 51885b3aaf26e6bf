# SPDX-License-Identifier: Apache-2.0
"""Cost and recall of the first two thresholds: python -m training.threshold_curves DATASET.

For thresholds of P-Net and R-Net, prints the number of crops per photograph that the next stage
processes (the cost), and the recall of the whole cascade with the last threshold set for a given
precision (the benefit). With `--suppression paper` candidates are suppressed as in the paper's
code, before P-Net and R-Net move their boxes. The two-stage cascade has one such threshold, that of
the proposal network.
"""

import argparse
import itertools
import sys
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mask_detector_ros.cli.command import run_command
from mask_detector_ros.errors import ParameterError
from mask_detector_ros.evaluation import summary
from mask_detector_ros.evaluation.dataset import LABELS, read_dataset
from mask_detector_ros.evaluation.run_networks import Networks, predict
from mask_detector_ros.faces import Faces
from mask_detector_ros.imaging.boxes import bbox_regression, non_max_suppression
from mask_detector_ros.imaging.image_pyramid import ImagePyramid
from mask_detector_ros.mtcnn.detection_settings import DetectionSettings
from mask_detector_ros.mtcnn.three_stage_cascade import LAST_OVERLAP, Cascade
from mask_detector_ros.mtcnn.two_stage_cascade import TwoStageCascade
from mask_detector_ros.parameters import DETECTOR_PARAMETERS, check_parameters

DEFAULTS = {parameter.name: parameter.default for parameter in DETECTOR_PARAMETERS}


class CountingCascade:
    """A cascade that counts the crops of the stages after the first.

    Attributes:
        crops: number of crops of each of these stages so far.
    """

    def __init__(self, cascade: Cascade | TwoStageCascade) -> None:
        self._cascade = cascade
        self.crops = np.zeros(1 if isinstance(cascade, TwoStageCascade) else 2, int)

    def __call__(self, image: NDArray[np.uint8], settings: DetectionSettings) -> Faces:
        first, second, last = settings.detection_thresholds
        pyramid = ImagePyramid(image)
        if isinstance(self._cascade, TwoStageCascade):
            boxes, scores = self._cascade.propose(pyramid, settings, first)
            self.crops[0] += len(boxes)
            return self._cascade.decide(pyramid, boxes, scores, last)
        boxes = self._cascade.propose(pyramid, settings, first)
        self.crops[0] += len(boxes)
        boxes = self._cascade.refine(pyramid, boxes, second)
        self.crops[1] += len(boxes)
        return self._cascade.decide(pyramid, boxes, last)


class PaperCascade(Cascade):
    """The cascade with the suppression order of the paper's code, for comparison."""

    def __init__(self, cascade: Cascade) -> None:
        super().__init__(cascade.pnet, cascade.rnet, cascade.onet)

    def move_proposals(
        self, boxes: NDArray[np.float32], offsets: NDArray[np.float32], scores: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        kept = non_max_suppression(boxes, scores, LAST_OVERLAP)
        return bbox_regression(boxes[kept], offsets[kept])

    move_refined = move_proposals


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--split")
    parser.add_argument("--detector-model", default=DEFAULTS["detector_model"])
    parser.add_argument("--proposal", type=float, nargs="+", default=[0.5, 0.6, 0.7])
    parser.add_argument("--refinement", type=float, nargs="+", default=[0.6, 0.7, 0.8])
    parser.add_argument("--suppression", choices=("moved", "paper"), default="moved")
    parser.add_argument("--precision", type=float, default=summary.WANTED_PRECISION)
    args = parser.parse_args(argv)
    return run_command(lambda: print_curves(args))


def print_curves(args: argparse.Namespace) -> int:
    """Print a line of the threshold curves for each pair of thresholds; return the exit code."""
    values = check_parameters(DETECTOR_PARAMETERS, {"detector_model": args.detector_model})
    images = [i for i in read_dataset(args.dataset, args.split).images if not i.is_whole_image]
    networks = Networks.load(values, [])
    if isinstance(networks.cascade, TwoStageCascade):
        if args.suppression != "moved":
            raise ParameterError(
                "--suppression is for detectors of three stages; leave it out, or give"
                " --detector-model mtcnn_masked"
            )
        args.refinement = [0.0]
        head = "crops of the decision network; thresholds of the first, no second, and last stage"
    else:
        head = "crops of R-Net and O-Net; thresholds of P-, R-, O-Net"
    print(f"{head}; recall of " + ", ".join(LABELS))
    variant = cast(Cascade, networks.cascade)
    if args.suppression == "paper":
        variant = PaperCascade(variant)
    for first, second in itertools.product(args.proposal, args.refinement):
        cascade = CountingCascade(variant)
        settings = replace(networks.settings, detection_thresholds=(first, second, 0.0))
        predictions = predict(
            tqdm(images, f"{first:g} {second:g}", leave=False),
            replace(networks, cascade=cascade, settings=settings),
        )
        threshold, found = summary.found_at_precision(predictions, args.precision)
        recalls = [
            found[summary.detection_rows(predictions, summary.HEADLINE, state)[0]].mean()
            for state in range(len(LABELS))
        ]
        crops = " ".join(f"{count:7.1f}" for count in cascade.crops / len(images))
        chosen = (first, second, threshold or np.nan)
        line = "  ".join([*(f"{value:.3f}" for value in (*chosen, *recalls))])
        print(f"{crops}   {line}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
