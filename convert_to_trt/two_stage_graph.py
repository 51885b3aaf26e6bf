# SPDX-License-Identifier: Apache-2.0
"""Compose the two-stage cascade as one ONNX graph: frame in, labelled faces out.

It computes the same as `mtcnn.two_stage_cascade`, with slots instead of lists of boxes: top-k
cells, one suppression, one batch of crops, one suppression. Empty slots are cut off, so that a
frame with few faces costs little.
"""

from __future__ import annotations

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
from convert_to_trt.graph_grid_crops import grid_crops
from convert_to_trt.merged_heads import merge_heads
from convert_to_trt.onnx_models import IR_VERSION, OPSET
from mask_detector_ros.errors import ModelError, ParameterError
from mask_detector_ros.imaging.image_pyramid import level_for
from mask_detector_ros.inference.fixed_slots import FREE_SLOTS
from mask_detector_ros.inference.tensorrt.typed_onnx import to_plain_layers
from mask_detector_ros.mtcnn.two_stage_cascade import FACE_OVERLAP
from mask_detector_ros.mtcnn.two_stage_proposals import PROPOSAL_OVERLAP, Letterbox, letterboxes

CANDIDATE_SLOTS = 512
"""Maximum number of cells over all passes for suppression, best scores first."""


def compose_two_stage(stages: Mapping[str, bytes], settings: GraphSettings) -> onnx.ModelProto:
    """Compose the two-stage cascade as one ONNX graph, from a (H, W, 3) uint8 BGR `image` to its
    faces, best first.

    Outputs, all float32, for the F slots of faces: `boxes` (F, 4), `scores` (F,), 0 where a
    slot is empty, `landmarks` (F, 5, 2), `probabilities` (F, K), and `dropped` (3,): how many
    candidates found no slot among the cells, the crops and the faces.

    Args:
        stages: proposal and decision, serialised.
        settings: settings of the graph.

    Raises:
        ParameterError: no face can be found with these settings.
        ModelError: a network lacks its metadata.
    """
    composer = _Composer(stages, settings)
    outputs = composer.compose()
    image = (TensorProto.UINT8, (settings.height, settings.width, 3))
    model = composer.g.finish({"image": image}, outputs, OPSET, IR_VERSION)
    noted = {**asdict(settings), "labels": composer.labels, "roles": composer.roles}
    labels = json.dumps(composer.labels)
    helper.set_model_props(model, {"cascade": json.dumps(noted), "labels": labels, "color": "BGR"})
    return model


class _Composer:
    def __init__(self, stages: Mapping[str, bytes], settings: GraphSettings) -> None:
        self.g, self.settings = GraphBuilder(), settings
        self._models = {
            name: onnx.load_from_string(to_plain_layers(model, name))
            for name, model in stages.items()
        }
        proposal, decision = (_metadata(self._models[name]) for name in ("proposal", "decision"))
        try:
            self._strides = [int(stride) for stride in json.loads(proposal["strides"])]
            self._faces = float(proposal["smallest_face"]), float(proposal["largest_face"])
            self.labels = [str(label) for label in json.loads(decision["labels"])]
            self.roles = json.loads(decision.get("roles", "null"))
            self._margin = float(decision["margin"])
        except (KeyError, ValueError, TypeError) as error:
            raise ModelError(
                f"the networks lack metadata ({error!r}); give the files that were exported for"
                " the two-stage cascade (see models/README.md)"
            ) from error
        merge_heads(self._models["proposal"], self._strides)
        shape = self._models["decision"].graph.input[0].type.tensor_type.shape
        self._side = shape.dim[1].dim_value
        self._decide_slots = settings.decide_slots
        self._dropped: list[str] = []

    def compose(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        g, s = self.g, self.settings
        passes = list(letterboxes(s.height, s.width, s.min_face_size, *self._faces))
        if not passes:
            raise ParameterError(
                f"an image of {s.width}x{s.height} holds no face of {s.min_face_size} pixels;"
                " give a larger --image or a smaller --min-face-size"
            )
        levels = [images.base_level(g, "image", s.height, s.width)]
        powers = [int(level_for(s.height, letterbox.rows)) for letterbox in passes]
        while len(levels) <= max(powers):
            levels.append(images.halve(g, levels[-1]))
        scores, boxes = self._propose(levels, passes)
        return self._decide(levels, scores, boxes)

    def _propose(self, levels: list[images.Level], passes: list[Letterbox]) -> tuple[str, str]:
        """(K,) scores and (K, 4) boxes that may hold a face, best first, 0 for none."""
        g, s = self.g, self.settings
        scores, moves, cells = [], [], []
        for letterbox in passes:
            out = g.embed(
                self._models["proposal"], "proposal", {"images": self._draw(levels, letterbox)}
            )
            scores.append(out["scores"])
            moves.append(out["boxes"])
            cells += [_cells(stride, letterbox) for stride in self._strides]
        total = sum(map(len, cells))
        scores = g.reshape(g.add("Concat", *scores, axis=1), total)
        reached = parts.reach(g, scores, s.detection_thresholds[0])
        table = g.constant(np.concatenate(cells))
        values = g.reshape(g.add("Concat", *moves, axis=1), total, 4)
        slots = min(CANDIDATE_SLOTS, total)
        top, (values, table) = self._keep(reached, slots, values, table)
        number = parts.used(g, top)
        ranks, scores, values, table = (
            parts.cut(g, value, number) for value in (parts.ranks(g, slots), top, values, table)
        )
        boxes = self._decode(values, table)
        kept = parts.suppress(g, boxes, scores, ranks, PROPOSAL_OVERLAP)
        found = g.add("Concat", g.reshape(kept, -1, 1), boxes, axis=1)
        found = parts.refill(g, found, number, slots)
        kept, boxes = g.many("Split", [found, g.shape(1, 4)], 2, axis=1)
        self._decide_slots = min(self._decide_slots, slots)
        kept, (boxes,) = self._keep(g.reshape(kept, slots), self._decide_slots, boxes)
        return kept, boxes

    def _draw(self, levels: list[images.Level], letterbox: Letterbox) -> str:
        """(1, H, W, 3) floats: what `Letterbox.draw` makes.

        A network with a uint8 input casts it first, which leaves floats unchanged.
        """
        g = self.g
        level = levels[int(level_for(letterbox.height, letterbox.rows))]
        rows, columns = letterbox.rows, letterbox.columns
        if (level.height, level.width) != (rows, columns):
            level = images.resize(g, level, rows, columns)
        value = g.reshape(level.value, 1, rows, columns, 3)
        below, right = np.subtract(letterbox.input_shape, (rows, columns)).tolist()
        if below or right:
            pads = g.shape(0, 0, 0, 0, 0, below, right, 0)
            value = g.add("Pad", value, pads, g.constant(0.0))
        return value

    def _decode(self, moves: str, table: str) -> str:
        """`decode_cells` and `Letterbox.to_frame`: (K, 4) boxes of the image."""
        g = self.g
        corner, size, half = g.many("Split", [table], 3, axis=1)
        move, growth = g.many("Split", [moves], 2, axis=1)
        centre = g.add("Add", corner, g.add("Mul", move, size))
        extent = g.add("Mul", g.add("Exp", growth), half)
        low, high = g.add("Sub", centre, extent), g.add("Add", centre, extent)
        return g.add("Concat", low, high, axis=1)

    def _decide(
        self, levels: list[images.Level], chances: str, boxes: str
    ) -> dict[str, tuple[str, tuple[int, ...]]]:
        g, s = self.g, self.settings
        slots, labels = self._decide_slots, len(self.labels)
        # One value holds all outputs.
        widths = {"scores": 1, "offsets": 4, "landmarks": 10, "probabilities": labels}

        def of_crops() -> str:
            number = parts.used(g, chances)
            squares, crops = self._crop(levels, parts.cut(g, boxes, number))
            out = g.embed(self._models["decision"], "decision", {"crops": crops})
            columns = [g.reshape(out[name], -1, width) for name, width in widths.items()]
            return parts.refill(g, g.add("Concat", squares, *columns, axis=1), number, slots)

        def of_nothing() -> str:
            return g.add("Identity", g.constant(np.zeros((slots, 4 + sum(widths.values())))))

        most = g.add("ReduceMax", chances, axes=[0], keepdims=0)
        any_face = g.add("Greater", most, g.constant(0.0))
        rows = g.choose(any_face, of_crops, of_nothing, name=g.unique(FREE_SLOTS))
        squares, *columns = g.many("Split", [rows, g.shape(4, *widths.values())], 5, axis=1)
        out = dict(zip(widths, columns, strict=True))
        scores = parts.reach(g, g.reshape(out["scores"], slots), s.detection_thresholds[2])
        # Slots without a candidate stay empty.
        there = g.add("Greater", chances, g.constant(0.0))
        scores = g.add("Where", there, scores, g.constant(0.0))
        corner, end = g.many("Split", [g.reshape(squares, slots, 2, 2)], 2, axis=1)
        points = g.reshape(out["landmarks"], slots, 5, 2)
        landmarks = g.add("Add", corner, g.add("Mul", g.add("Sub", end, corner), points))
        moved = parts.regress(g, squares, out["offsets"])
        order = (moved, landmarks, out["probabilities"])
        scores, (moved, landmarks, chances) = parts.best(g, scores, slots, *order)
        scores = parts.suppress(g, moved, scores, parts.ranks(g, slots), FACE_OVERLAP)
        faces = min(s.face_slots, slots)
        scores, values = self._keep(scores, faces, moved, landmarks, chances)
        there = g.add("Cast", g.add("Greater", scores, g.constant(0.0)), to=1)
        shapes = ((faces, 4), (faces, 5, 2), (faces, labels))
        filled = [
            (g.add("Mul", value, g.reshape(there, faces, *[1] * (len(shape) - 1))), shape)
            for value, shape in zip(values, shapes, strict=True)
        ]
        return {
            "boxes": filled[0],
            "scores": (scores, (faces,)),
            "landmarks": filled[1],
            "probabilities": filled[2],
            "dropped": (g.add("Concat", *self._dropped, axis=0), (len(self._dropped),)),
        }

    def _crop(self, levels: list[images.Level], boxes: str) -> tuple[str, str]:
        """(K, 4) squares and their (K, S, S, 3) crops; on a CPU without large faces one by one."""
        g, size = self.g, self._side

        def on_gpu() -> str:
            return grid_crops(g, images.with_smaller(g, levels, size), squares, size)

        def on_cpu() -> str:
            large = images.are_larger(g, squares, size)
            return g.choose(large, of_all_levels, of_image, name=g.unique(FREE_SLOTS))

        def of_all_levels() -> str:
            # The largest square, of the whole image, is read from the last level.
            whole = images.flatten(g, images.with_smaller(g, levels, size))
            return images.crops(g, whole, squares, size)

        def of_image() -> str:
            return images.crops_one_by_one(g, levels[0], squares, size)

        height, width = self.settings.height, self.settings.width
        top_level = 0
        while -(-min(height, width) // 2**top_level) >= size:
            top_level += 1
        squares = images.squares(g, boxes, self._margin, size, top_level)
        # Fixed slots take the first branch.
        never = g.constant(False, np.bool_)
        return squares, g.choose(never, on_gpu, on_cpu, name=g.unique(FREE_SLOTS))

    def _keep(self, scores: str, slots: int, *others: str) -> tuple[str, list[str]]:
        """Keep the best scores, and record how many others above 0 found no slot."""
        g = self.g
        excess = g.add("Sub", parts.count(g, scores), g.constant(float(slots)))
        self._dropped.append(g.add("Max", excess, g.constant([0.0])))
        return parts.best(g, scores, slots, *others)


def _cells(stride: int, letterbox: Letterbox) -> np.ndarray:
    """(P, 6) corner, size and half size of each cell in pixels of the image."""
    down, across = (side // stride for side in letterbox.input_shape)
    size = np.divide((letterbox.width, letterbox.height), (letterbox.columns, letterbox.rows))
    size = (stride * size)[None]
    corners = np.mgrid[0:down, 0:across][::-1].reshape(2, -1).T * size
    return np.hstack([corners, np.tile(np.hstack([size, size / 2]), (len(corners), 1))])


def _metadata(model: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}
