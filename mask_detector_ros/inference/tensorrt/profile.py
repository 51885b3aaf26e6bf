# SPDX-License-Identifier: Apache-2.0
"""Optimisation profile: the input shapes that a TensorRT engine is built for."""

from collections.abc import Iterable, Mapping

from mask_detector_ros.inference.session import Array, TensorInfo
from mask_detector_ros.inference.tensorrt.builder import Profile, Shapes

BATCHES = (1, 8, 128)
"""Minimum, optimum and maximum number of crops: `GPU_BATCH`, and the classifier's limit."""

TILE_SIZES = ((12, 12), (144, 640), (256, 2560))
"""Height and width of P-Net's input: its window; a usual tile of the pyramid; the largest tile,
wide enough for 3840x2160 with min_face_size 20. A larger limit would always cost GPU memory."""

FRAME_SIZES = ((32, 32), (384, 512), (1728, 3072))
"""Height and width of a proposal network's input, multiples of its largest stride: one cell;
640x480 and 3840x2160 with min_face_size 20."""


def make_profile(inputs: Iterable[TensorInfo]) -> Profile:
    """Make an optimisation profile: minimum, optimum and maximum shape of each input with dynamic
    dimensions.

    A network with dynamic height and width takes one image at a time: tiles with channels first
    (P-Net), or frames with channels last (proposal network). Others take batches of crops.
    """
    profile = {}
    for tensor in inputs:
        if -1 not in tensor.shape:
            continue
        is_image = -1 in tensor.shape[1:]
        sizes = FRAME_SIZES if tensor.shape[-1] == 3 else TILE_SIZES
        shapes = []
        for batch, image in zip((1, 1, 1) if is_image else BATCHES, sizes, strict=True):
            first = batch if tensor.shape[0] == -1 else tensor.shape[0]
            sides = iter(image)
            rest = [next(sides) if size == -1 else size for size in tensor.shape[1:]]
            shapes.append((first, *rest))
        profile[tensor.name] = (shapes[0], shapes[1], shapes[2])
    return profile


def fits(arrays: Mapping[str, Array], profile: Mapping[str, Shapes]) -> bool:
    """Whether the arrays fit the optimisation profile; an empty batch counts as a batch of one."""
    return all(
        low <= max(size, 1) <= high
        for name, (least, _, most) in profile.items()
        for low, size, high in zip(least, arrays[name].shape, most, strict=True)
    )


def fill_up(shape: tuple[int, ...], shapes: Shapes | None) -> tuple[int, ...]:
    """The shape within the optimisation profile to run for an input: batches are padded to powers
    of two.

    That limits the number of shapes, each of which has a CUDA graph.
    """
    if shapes is None:
        return shape
    batch = 1 << (max(shape[0], 1) - 1).bit_length()
    return (max(min(batch, shapes[2][0]), shape[0]), *shape[1:])


def parity_shapes(
    inputs: Iterable[TensorInfo], profile: Mapping[str, Shapes]
) -> list[dict[str, tuple[int, ...]]]:
    """Shapes of the optimisation profile to verify an engine at: the usual one, the smallest,
    padded and large ones.

    Some engines were wrong only at batch sizes of 8 and more, or after a batch of one.
    """
    fixed = {tensor.name: tensor.shape for tensor in inputs}
    if not profile:
        return [fixed]
    least, usual, most = ({name: s[index] for name, s in profile.items()} for index in range(3))
    steps = [usual, least]
    is_batched = any(shapes[0][0] != shapes[2][0] for shapes in profile.values())
    if is_batched:
        for batch in (3, 17):
            steps.append({name: (batch, *shapes[1][1:]) for name, shapes in profile.items()})
        steps += [most, least]
    else:
        steps.append({name: _other_size(shapes) for name, shapes in profile.items()})
    return [{**fixed, **step} for step in steps]


def _other_size(shapes: Shapes) -> tuple[int, ...]:
    """A shape of an image that is neither square nor usual."""
    usual = shapes[1]
    return (usual[0], 160, 224, 3) if usual[-1] == 3 else (*usual[:-2], 97, 131)
