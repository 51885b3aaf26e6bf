# SPDX-License-Identifier: Apache-2.0
"""Compose the whole three-stage cascade and the classifier as one static ONNX graph."""

import json
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import onnx
from onnx import TensorProto, helper

from convert_to_trt import graph_box_steps as parts
from convert_to_trt import graph_image_steps as images
from convert_to_trt.cascade_settings import GraphSettings
from convert_to_trt.graph_builder import GraphBuilder
from convert_to_trt.onnx_models import IR_VERSION, OPSET, get_metadata
from mask_detector_ros.errors import ParameterError
from mask_detector_ros.imaging.image_pyramid import level_for
from mask_detector_ros.inference.tensorrt.precision import precision_of
from mask_detector_ros.inference.tensorrt.typed_onnx import to_half, to_plain_layers
from mask_detector_ros.mtcnn.pnet_proposals import NEIGHBOURS_OVERLAP
from mask_detector_ros.mtcnn.pnet_pyramid import STRIDE, WINDOW, pyramid_shapes
from mask_detector_ros.mtcnn.three_stage_cascade import (
    LAST_OVERLAP,
    MOVED_OVERLAP,
    ONET_SIDE,
    RNET_SIDE,
)


class _Composer:
    def __init__(self, models: Mapping[str, bytes], settings: GraphSettings) -> None:
        self.g = GraphBuilder()
        self.settings = settings
        self._models = {name: _prepare(model, name, settings) for name, model in models.items()}
        self._lost: list[str] = []

    def compose(self, classifier: Mapping[str, str]) -> dict[str, tuple[str, tuple[int, ...]]]:
        g, s = self.g, self.settings
        proposal, refinement, decision = s.detection_thresholds
        # The largest visible square, four times the image, is read from the last level.
        base = images.base_level(g, "image", s.height, s.width)
        levels = images.with_smaller(g, [base], WINDOW)
        boxes = self._propose(levels, proposal)
        stacked = images.stack(g, levels)
        boxes = self._refine(stacked, boxes, refinement)
        scores, boxes, landmarks = self._decide(stacked, boxes, decision)
        probabilities, labels = self._classify(stacked, boxes, scores, classifier)
        f = s.face_slots
        return {
            "boxes": (boxes, (f, 4)),
            "scores": (scores, (f,)),
            "landmarks": (landmarks, (f, 5, 2)),
            "probabilities": (probabilities, (f, labels)),
            "dropped": (g.add("Concat", *self._lost, axis=0), (len(self._lost),)),
        }

    def _keep(self, scores: str, have: int, slots: int, *others: str) -> tuple[str, list[str]]:
        """Keep the best scores, and record how many others above 0 found no slot."""
        g = self.g
        slots = min(slots, have)
        excess = g.add("Sub", parts.count(g, scores), g.constant(float(slots)))
        self._lost.append(g.add("Max", excess, g.constant([0.0])))
        return parts.best(g, scores, slots, *others)

    def _propose(self, levels: list[images.Level], threshold: float) -> str:
        g, s = self.g, self.settings
        shapes = pyramid_shapes(s.height, s.width, s.min_face_size, s.pyramid_factor)
        if not shapes:
            raise ParameterError(
                f"an image of {s.width}x{s.height} holds no face of {s.min_face_size} pixels;"
                " give a larger --image or a smaller --min-face-size"
            )
        found, lost, total = [], [], 0
        for height, width in shapes:
            power = int(level_for(s.height, 2 * height))
            source = levels[power]
            level = images.pyramid_level(g, source, height, width)
            maps = g.embed(self._models["pnet"], "pnet", {"images": level})
            rows, columns = (_map_size(size) for size in (height, width))
            n = rows * columns
            scores = g.reshape(maps["scores"], n)
            # With an odd size the last window extends beyond the image, and the cascade leaves it
            # out. Use a mask for that: TensorRT-RTX hangs on some graphs that slice the maps.
            whole = [
                np.arange(count) <= (size - WINDOW) // STRIDE
                for count, size in ((rows, height), (columns, width))
            ]
            if not (whole[0].all() and whole[1].all()):
                scores = g.add("Mul", scores, g.constant(np.outer(*whole).ravel()))
            scores = parts.reach(g, scores, threshold)
            offsets = g.add("Transpose", g.reshape(maps["offsets"], 4, n), perm=[1, 0])
            sides = source.height, source.width
            scale_y, scale_x = np.divide(sides, (height, width)) * 2**power
            proposals = g.constant(_proposal_boxes(rows, columns, scale_x, scale_y))
            before = len(self._lost)
            slots = min(s.level_slots, n)
            scores, (proposals, offsets) = self._keep(scores, n, slots, proposals, offsets)
            lost += self._lost[before:]
            del self._lost[before:]
            scores = parts.suppress(g, proposals, scores, parts.ranks(g, slots), NEIGHBOURS_OVERLAP)
            found.append((scores, proposals, offsets))
            total += slots
        self._lost.append(g.add("Sum", *lost))
        scores, proposals, offsets = (
            g.add("Concat", *values, axis=0) for values in zip(*found, strict=True)
        )
        slots = min(s.window_slots, total)
        scores, (proposals, offsets) = self._keep(scores, total, slots, proposals, offsets)
        boxes = parts.regress(g, proposals, offsets)
        scores = parts.suppress(g, boxes, scores, parts.ranks(g, slots), MOVED_OVERLAP)
        self._refined = min(s.refine_slots, slots)
        self._scores, (boxes,) = self._keep(scores, slots, self._refined, boxes)
        return boxes

    def _stage(
        self,
        name: str,
        stacked: images.StackedLevels,
        boxes: str,
        slots: int,
        side: int,
        threshold: float,
    ) -> tuple[str, str, dict[str, str]]:
        """Run R-Net or O-Net on the squares around boxes: scores, squares, other outputs."""
        g = self.g
        squares = images.squares(g, boxes, 0.0, side, len(stacked.heights) - 1)
        patches = images.crops(g, stacked, squares, side)
        patches = g.add("Transpose", patches, perm=[0, 3, 1, 2])
        out = g.embed(self._models[name], name, {"images": patches})
        scores = parts.reach(g, g.reshape(out["scores"], slots), threshold)
        # Slots without a candidate stay empty.
        there = g.add("Greater", self._scores, g.constant(0.0))
        return g.add("Where", there, scores, g.constant(0.0)), squares, out

    def _refine(self, stacked: images.StackedLevels, boxes: str, threshold: float) -> str:
        g, s = self.g, self.settings
        slots = self._refined
        scores, squares, out = self._stage("rnet", stacked, boxes, slots, RNET_SIDE, threshold)
        scores, (squares, offsets) = parts.best(g, scores, slots, squares, out["offsets"])
        boxes = parts.regress(g, squares, offsets)
        merged = parts.merge(g, boxes, scores, slots, MOVED_OVERLAP)
        scores = parts.suppress(g, boxes, scores, parts.ranks(g, slots), MOVED_OVERLAP)
        self._decided = min(s.decide_slots, slots)
        self._scores, (boxes,) = self._keep(scores, slots, self._decided, merged)
        return boxes

    def _decide(
        self, stacked: images.StackedLevels, boxes: str, threshold: float
    ) -> tuple[str, str, str]:
        g, s = self.g, self.settings
        slots = self._decided
        scores, squares, out = self._stage("onet", stacked, boxes, slots, ONET_SIDE, threshold)
        points = g.add("Transpose", g.reshape(out["landmarks"], slots, 2, 5), perm=[0, 2, 1])
        corner, end = g.many("Split", [g.reshape(squares, slots, 2, 2)], 2, axis=1)
        landmarks = g.add("Add", corner, g.add("Mul", g.add("Sub", end, corner), points))
        boxes = parts.regress(g, squares, out["offsets"])
        scores, (boxes, landmarks) = parts.best(g, scores, slots, boxes, landmarks)
        ranks = parts.ranks(g, slots)
        scores = parts.suppress(g, boxes, scores, ranks, LAST_OVERLAP, of_smaller=True)
        return self._fill(scores, slots, s.face_slots, boxes, landmarks)

    def _fill(
        self, scores: str, have: int, slots: int, boxes: str, landmarks: str
    ) -> tuple[str, str, str]:
        g = self.g
        if have < slots:
            raise ParameterError(
                f"{slots} face slots need at least as many O-Net slots, got {have}"
            )
        scores, (boxes, landmarks) = self._keep(scores, have, slots, boxes, landmarks)
        there = g.add("Cast", g.add("Greater", scores, g.constant(0.0)), to=1)
        boxes = g.add("Mul", boxes, g.reshape(there, slots, 1))
        landmarks = g.add("Mul", landmarks, g.reshape(there, slots, 1, 1))
        return scores, boxes, landmarks

    def _classify(
        self, stacked: images.StackedLevels, boxes: str, scores: str, metadata: Mapping[str, str]
    ) -> tuple[str, int]:
        g, s = self.g, self.settings
        model = self._models["classifier"]
        (tensor,) = model.graph.input
        channels_first = metadata["layout"] == "NCHW"
        side = tensor.type.tensor_type.shape.dim[2].dim_value
        margin = float(metadata["margin"]) if s.margin < 0 else s.margin
        f = s.face_slots
        squares = images.squares(g, boxes, margin, side, len(stacked.heights) - 1)
        values = images.crops(g, stacked, squares, side)
        if metadata["color"] == "RGB":
            values = g.add("Gather", values, g.constant([2, 1, 0], np.int64), axis=3)
        if tensor.type.tensor_type.elem_type != TensorProto.UINT8:
            scale, offset = float(metadata["scale"]), float(metadata["offset"])
            values = g.add("Add", g.add("Mul", values, g.constant(scale)), g.constant(offset))
        if tensor.type.tensor_type.elem_type == TensorProto.FLOAT16:
            values = g.add("Cast", values, to=TensorProto.FLOAT16)
        if channels_first:
            values = g.add("Transpose", values, perm=[0, 3, 1, 2])
        # A network that takes bytes casts them first: it is given floats of whole numbers.
        (result,) = g.embed(model, "classifier", {tensor.name: values}).values()
        labels = len(json.loads(metadata["labels"]))
        there = g.add("Cast", g.add("Greater", scores, g.constant(0.0)), to=1)
        return g.add("Mul", result, g.reshape(there, f, 1)), labels


def compose_cascade(
    stages: Mapping[str, bytes], classifier: bytes, settings: GraphSettings
) -> onnx.ModelProto:
    """Compose the three-stage cascade as one ONNX graph, from a (H, W, 3) uint8 BGR `image` to its
    faces, best first.

    Outputs, all float32, for the F slots of faces: `boxes` (F, 4), `scores` (F,), 0 where a
    slot is empty, `landmarks` (F, 5, 2), `probabilities` (F, K), and `dropped` (5,): how many
    candidates found no slot after each level's proposals, all proposals, P-Net, R-Net and O-Net.

    Args:
        stages: pnet, rnet and onet, serialised.
        classifier: serialised, with its metadata.
        settings: settings of the graph.

    Raises:
        ParameterError: no face can be found with these settings.
        ModelError: a network cannot be converted to float16.
    """
    metadata = get_metadata(onnx.load_from_string(classifier))
    composer = _Composer({**stages, "classifier": classifier}, settings)
    outputs = composer.compose(metadata)
    image = (TensorProto.UINT8, (settings.height, settings.width, 3))
    model = composer.g.finish({"image": image}, outputs, OPSET, IR_VERSION)
    roles = json.loads(metadata.get("roles", "null"))
    noted = {**asdict(settings), "labels": json.loads(metadata["labels"]), "roles": roles}
    helper.set_model_props(
        model, {"cascade": json.dumps(noted), "labels": metadata["labels"], "color": "BGR"}
    )
    return model


def _prepare(model: bytes, name: str, settings: GraphSettings) -> onnx.ModelProto:
    network = onnx.load_from_string(to_plain_layers(model, name))
    asked = "fp16" if settings.half else "fp32"
    if precision_of((output.name for output in network.graph.output), asked) == "fp32":
        return network
    return onnx.load_from_string(to_half(network.SerializeToString(), name))


def _map_size(size: int) -> int:
    """Size of P-Net's map: 3x3, pooling with ceil mode, 3x3, 3x3."""
    return -(-(size - 2) // 2) - 4


def _proposal_boxes(rows: int, columns: int, scale_x: float, scale_y: float) -> np.ndarray:
    y, x = np.mgrid[0:rows, 0:columns].reshape(2, -1).astype(np.float32) * STRIDE
    scale = np.float32([scale_x, scale_y, scale_x, scale_y])
    return np.stack([x, y, x + WINDOW, y + WINDOW], axis=1) * scale
