# SPDX-License-Identifier: Apache-2.0
"""Compose the two-stage cascade as one ONNX graph: frame in, labelled faces out.

It computes the same as `mtcnn.two_stage_cascade`. It contains the steps that depend on the number
of boxes twice: `free` for a CPU, with lists as there, and `fixed` for a GPU, with slots: top-k
cells, one suppression, one batch of crops, one suppression.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import onnx
from onnx import TensorProto, helper

from convert_to_trt import graph_box_steps as parts
from convert_to_trt import graph_free_steps as lists
from convert_to_trt import graph_image_steps as images
from convert_to_trt.cascade_settings import GraphSettings
from convert_to_trt.first_layer import FirstLayer
from convert_to_trt.graph_builder import GraphBuilder
from convert_to_trt.onnx_models import IR_VERSION, OPSET, get_metadata
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
        proposal, decision = (get_metadata(self._models[name]) for name in ("proposal", "decision"))
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
        self._first = {name: FirstLayer.take_from(model) for name, model in self._models.items()}
        shape = self._models["decision"].graph.input[0].type.tensor_type.shape
        self._side = shape.dim[1].dim_value

    def compose(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        s = self.settings
        passes = list(letterboxes(s.height, s.width, s.min_face_size, *self._faces))
        if not passes:
            raise ParameterError(
                f"an image of {s.width}x{s.height} holds no face of {s.min_face_size} pixels;"
                " give a larger --image or a smaller --min-face-size"
            )
        table = np.concatenate([_cells(stride, box) for box in passes for stride in self._strides])
        self._cell_slots = min(CANDIDATE_SLOTS, len(table))
        self._crop_slots = min(s.decide_slots, self._cell_slots)
        self._face_slots = min(s.face_slots, self._crop_slots)
        chances, boxes, cells, crops = self._choose(*self._propose(passes, len(table)), table)
        rows, faces = self._decide(chances, boxes)
        return self._outputs(rows, (cells, crops, faces))

    def _levels(self, top: int = 0) -> list[images.Level]:
        """The levels of the frame's pyramid up to `top`; in the branch of an If, to be made there:
        ONNX Runtime computes all nodes outside."""
        levels = [images.base_level(self.g, "image", self.settings.height, self.settings.width)]
        for _ in range(top):
            levels.append(images.halve(self.g, levels[-1]))
        return levels

    def _propose(self, passes: list[Letterbox], cells: int) -> tuple[str, str]:
        """(P,) scores and (P, 4) moves of all cells."""
        g = self.g
        scores, moves = [], []
        for letterbox in passes:
            out = self._run("proposal", self._draw(letterbox))
            scores += [out[f"scores_{stride}"] for stride in self._strides]
            moves += [out[f"boxes_{stride}"] for stride in self._strides]
        scores, moves = (g.add("Concat", *values, axis=1) for values in (scores, moves))
        return g.reshape(scores, cells), g.reshape(moves, cells, 4)

    def _run(self, name: str, pixels: str) -> dict[str, str]:
        """The outputs of a network for (N, H, W, 3) floats. A network with a uint8 input that is
        embedded whole casts them, which changes nothing."""
        model, layer = self._models[name], self._first[name]
        feeds = {model.graph.input[0].name: pixels}
        if layer:
            feeds = {layer.output: layer.add(self.g, pixels)}
        return self.g.embed(model, name, feeds)

    def _choose(self, scores: str, moves: str, cells: np.ndarray) -> list[str]:
        """(K,) scores and (K, 4) boxes that may hold a face, best first, 0 for none; how many cells
        and crops found no slot."""
        g, table = self.g, self.g.constant(cells)
        threshold = self.settings.detection_thresholds[0]

        def fixed() -> list[str]:
            reached, ranks = parts.reach(g, scores, threshold), parts.ranks(g, self._cell_slots)
            top, lost, (values, places) = self._keep(reached, self._cell_slots, moves, table)
            boxes = self._decode(values, places)
            kept = parts.suppress(g, boxes, top, ranks, PROPOSAL_OVERLAP)
            kept, dropped, (boxes,) = self._keep(kept, self._crop_slots, boxes)
            return [kept, boxes, lost, dropped]

        def free() -> list[str]:
            found, values, places = lists.select(g, scores, threshold, moves, table)
            boxes = self._decode(values, places)
            kept = lists.suppress(g, boxes, found, PROPOSAL_OVERLAP)
            best = lists.first(g, kept, self._crop_slots)
            chosen = [g.add("Gather", value, best, axis=0) for value in (found, boxes)]
            none = g.add("Identity", g.constant([0.0]))
            return [*chosen, none, lists.excess(g, kept, self._crop_slots)]

        return g.either(fixed, free)

    def _draw(self, letterbox: Letterbox) -> str:
        """(1, H, W, 3) floats: what `Letterbox.draw` makes."""
        g = self.g
        power = int(level_for(letterbox.height, letterbox.rows))
        rows, columns = letterbox.rows, letterbox.columns

        def fixed() -> list[str]:
            level = self._levels(power)[-1]
            if (level.height, level.width) != (rows, columns):
                level = images.resize(g, level, rows, columns)
            return [g.add("Identity", level.value)]

        def free() -> list[str]:
            sides = (letterbox.height, letterbox.width)
            if sides == (rows, columns):
                return fixed()
            scaled = lists.resize(g, "image", sides, rows, columns, power)
            return [scaled] if scaled else fixed()

        (value,) = g.either(fixed, free)
        value = g.reshape(value, 1, rows, columns, 3)
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

    def _decide(self, chances: str, boxes: str) -> list[str]:
        """(F, M) rows of the faces, best first: score, box, landmarks and probabilities, or zeros;
        how many faces found no slot."""
        g, s = self.g, self.settings
        labels = len(self.labels)
        widths = {"scores": 1, "offsets": 4, "landmarks": 10, "probabilities": labels}

        def of_crops() -> list[str]:
            squares, crops = self._crop(boxes)
            out = self._run("decision", crops)
            out = {name: g.reshape(out[name], -1, width) for name, width in widths.items()}
            corner, end = g.many("Split", [g.reshape(squares, -1, 2, 2)], 2, axis=1)
            points = g.reshape(out["landmarks"], -1, 5, 2)
            landmarks = g.add("Add", corner, g.add("Mul", g.add("Sub", end, corner), points))
            moved = g.add("Relu", parts.regress(g, squares, out["offsets"]))
            moved = g.add("Min", moved, g.constant([[s.width, s.height, s.width, s.height]]))
            scores = parts.combine(g, g.reshape(chances, -1, 1), out["scores"])
            columns = (scores, moved, g.reshape(landmarks, -1, 10), out["probabilities"])
            rows = g.add("Concat", *columns, axis=1)
            return g.either(lambda: fixed(rows, scores), lambda: free(rows, scores))

        def fixed(rows: str, scores: str) -> list[str]:
            scores = parts.reach(g, g.reshape(scores, -1), s.detection_thresholds[2])
            # Slots without a candidate stay empty.
            there = g.add("Greater", chances, g.constant(0.0))
            scores = g.add("Where", there, scores, g.constant(0.0))
            scores, (rows,) = parts.best(g, scores, self._crop_slots, rows)
            moved = g.add("Slice", rows, g.shape(1), g.shape(5), g.shape(1))
            ranks = parts.ranks(g, self._crop_slots)
            scores = parts.suppress(g, moved, scores, ranks, FACE_OVERLAP)
            scores, dropped, (rows,) = self._keep(scores, self._face_slots, rows)
            there = g.add("Cast", g.add("Greater", scores, g.constant(0.0)), to=1)
            return [g.add("Mul", rows, g.reshape(there, -1, 1)), dropped]

        def free(rows: str, scores: str) -> list[str]:
            scores = g.reshape(scores, -1)
            scores, rows = lists.select(g, scores, s.detection_thresholds[2], rows)
            moved = g.add("Slice", rows, g.shape(1), g.shape(5), g.shape(1))
            kept = lists.suppress(g, moved, scores, FACE_OVERLAP)
            best = lists.first(g, kept, self._face_slots)
            rows = lists.fill(g, g.add("Gather", rows, best, axis=0), self._face_slots)
            return [rows, lists.excess(g, kept, self._face_slots)]

        def of_nothing() -> list[str]:
            rows = np.zeros((self._face_slots, sum(widths.values())))
            return [g.add("Identity", g.constant(values)) for values in (rows, [0.0])]

        some = g.add("Greater", g.reshape(parts.count(g, chances)), g.constant(0.0))
        return g.choose(some, of_crops, of_nothing, g.unique(FREE_SLOTS))

    def _outputs(
        self, rows: str, dropped: tuple[str, ...]
    ) -> dict[str, tuple[str, tuple[int, ...]]]:
        g, faces, labels = self.g, self._face_slots, len(self.labels)
        widths = g.shape(1, 4, 10, labels)
        scores, boxes, points, chances = g.many("Split", [rows, widths], 4, axis=1)
        return {
            "boxes": (boxes, (faces, 4)),
            "scores": (g.reshape(scores, faces), (faces,)),
            "landmarks": (g.reshape(points, faces, 5, 2), (faces, 5, 2)),
            "probabilities": (chances, (faces, labels)),
            "dropped": (g.add("Concat", *dropped, axis=0), (len(dropped),)),
        }

    def _crop(self, boxes: str) -> tuple[str, str]:
        """(K, 4) squares and their (K, S, S, 3) crops."""
        g, size = self.g, self._side
        sides = (self.settings.height, self.settings.width)
        top_level = 0
        while -(-min(sides) // 2**top_level) >= size:
            top_level += 1
        squares = images.squares(g, boxes, self._margin, size, top_level)

        def fixed() -> list[str]:
            # The largest square, of the whole image, is read from the last level.
            return [images.crops(g, images.stack(g, self._levels(top_level)), squares, size)]

        def free() -> list[str]:
            return [lists.crops(g, "image", sides, squares, size, top_level)]

        return squares, g.either(fixed, free)[0]

    def _keep(self, scores: str, slots: int, *others: str) -> tuple[str, str, list[str]]:
        """Keep the best scores; (1,) how many others above 0 found no slot."""
        g = self.g
        excess = g.add("Sub", parts.count(g, scores), g.constant(float(slots)))
        scores, others = parts.best(g, scores, slots, *others)
        return scores, g.add("Max", excess, g.constant([0.0])), others


def _cells(stride: int, letterbox: Letterbox) -> np.ndarray:
    """(P, 6) corner, size and half size of each cell in pixels of the image."""
    down, across = (side // stride for side in letterbox.input_shape)
    size = np.divide((letterbox.width, letterbox.height), (letterbox.columns, letterbox.rows))
    size = (stride * size)[None]
    corners = np.mgrid[0:down, 0:across][::-1].reshape(2, -1).T * size
    return np.hstack([corners, np.tile(np.hstack([size, size / 2]), (len(corners), 1))])
