# SPDX-License-Identifier: Apache-2.0
"""Positions of an image's boxes and points in views."""

import math

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from training.two_stage.view_geometry import (  # noqa: E402
    boxes_in_views,
    draw_angles,
    efficient_overlap_loss,
    mirrored_landmarks,
    overlaps,
    points_in_views,
    view_matrices,
)


def matrices(angle=0.0, mirrored=False, scale=2.0, side=100):
    return view_matrices(
        torch.tensor([[200.0, 150.0]]),
        torch.tensor([scale]),
        torch.tensor([angle]),
        torch.tensor([mirrored]),
        side,
    )


@pytest.mark.parametrize("angle", [0.0, 0.5])
@pytest.mark.parametrize("mirrored", [False, True])
def test_points_come_back_to_where_the_matrix_sends_them(angle, mirrored):
    matrix = matrices(angle, mirrored)
    points = torch.tensor([[[10.0, 20.0], [50.0, 50.0]]])
    ones = torch.ones(1, 2, 1)
    in_image = torch.cat([points, ones], 2) @ matrix.transpose(1, 2)
    assert torch.allclose(points_in_views(in_image, matrix), points, atol=1e-3)
    assert torch.allclose(in_image[0, 1], torch.tensor([200.0, 150.0]), atol=1e-3)


def test_a_mirrored_view_shows_the_right_half_on_the_left():
    box = torch.tensor([[[220.0, 140.0, 240.0, 160.0]]])
    plain, mirrored = (boxes_in_views(box, matrices(mirrored=m))[0, 0] for m in (False, True))
    assert plain.tolist() == pytest.approx([60, 45, 70, 55], abs=1e-3)
    assert mirrored.tolist() == pytest.approx([30, 45, 40, 55], abs=1e-3)


def test_a_face_turned_by_a_right_angle_swaps_width_and_height():
    box = torch.tensor([[[180.0, 110.0, 220.0, 190.0]]])
    turned = boxes_in_views(box, matrices(math.pi / 2))[0, 0]
    assert (turned[2:] - turned[:2]).tolist() == pytest.approx([40, 20], abs=1e-3)


def test_left_and_right_landmarks_change_places_in_a_mirror():
    landmarks = torch.arange(10.0).reshape(1, 5, 2)
    mirrored = mirrored_landmarks(landmarks, torch.tensor([True]))
    assert mirrored[0, :, 0].tolist() == [2, 0, 4, 8, 6]
    assert torch.equal(mirrored_landmarks(landmarks, torch.tensor([False])), landmarks)


def test_overlap_of_half_a_box():
    boxes = torch.tensor([[[0.0, 0.0, 10.0, 10.0]]])
    others = torch.tensor([[[0.0, 0.0, 10.0, 5.0], [20.0, 20.0, 30.0, 30.0]]])
    assert overlaps(boxes, others)[0, 0].tolist() == pytest.approx([0.5, 0.0])


def test_the_loss_of_a_box_is_zero_only_where_it_belongs():
    box = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    losses = [efficient_overlap_loss(box + shift, box).item() for shift in (0.0, 2.0, 30.0)]
    assert losses[0] == pytest.approx(0, abs=1e-6)
    assert losses[0] < losses[1] < losses[2]


def test_most_views_are_upright():
    torch.manual_seed(0)
    angles = draw_angles(2000, 0.3, 0.1, torch.device("cpu"))
    assert (angles == 0).float().mean().item() == pytest.approx(0.6, abs=0.05)
    assert angles.abs().max() <= math.radians(45) + 0.3
