# SPDX-License-Identifier: Apache-2.0
"""The arithmetic floor."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mask_detector_ros.speed.arithmetic_floor import (
    ONET,
    PNET,
    RNET,
    FloorCounter,
    Layer,
    cascade_macs,
    network_macs,
)

THRESHOLDS = (0.6, 0.7, 0.7)


def test_a_convolution_by_hand():
    # 4x5 positions of 3x3 over 2 channels into 7.
    assert network_macs((Layer(2, 7, 3),), 6, 7) == 4 * 5 * 3 * 3 * 2 * 7


def test_a_pool_halves_what_the_next_layer_sees_rounded_up():
    # 5x5 after the first, 3x3 after the pool, 2x2 after the second.
    layers = (Layer(1, 1, 2, pool=2), Layer(1, 1, 2))
    assert network_macs(layers, 6, 6) == 5 * 5 * 4 + 2 * 2 * 4


def test_one_window_of_pnet_is_one_position_of_each_layer_but_the_first_two():
    window = 10 * 10 * 27 * 10 + 3 * 3 * 90 * 16 + 144 * 32 + 32 * 6
    assert network_macs(PNET, 12, 12) == window


@pytest.mark.parametrize(
    ("layers", "side", "parameters"), [(PNET, 12, 6632), (RNET, 24, 100178), (ONET, 48, 389040)]
)
def test_the_layers_have_as_many_parameters_as_the_public_weights(layers, side, parameters):
    count = 0
    for layer in layers[:-1]:
        kernel = layer.kernel or side
        # A bias and a slope of the PReLU for each output.
        count += kernel**2 * layer.inputs * layer.outputs + 2 * layer.outputs
        side -= kernel - 1
        if layer.pool:
            side = math.ceil((side - layer.pool) / 2) + 1
    heads = layers[-1]
    assert side == 1
    assert count + (heads.inputs + 1) * heads.outputs == parameters


@given(st.integers(0, 50), st.integers(0, 50), st.integers(12, 200), st.integers(12, 200))
def test_the_cost_of_crops_is_proportional_to_their_number(rnet, onet, height, width):
    macs = cascade_macs([(height, width)], rnet, onet)
    assert macs["rnet"] == rnet * network_macs(RNET, 24, 24)
    assert macs["onet"] == onet * network_macs(ONET, 48, 48)
    assert macs["pnet"] == network_macs(PNET, height, width)


@given(st.integers(12, 200), st.integers(12, 200))
def test_a_larger_level_costs_more(height, width):
    assert network_macs(PNET, height + 2, width) > network_macs(PNET, height, width)


def test_a_face_costs_more_than_none_in_the_same_picture_size(astronaut):
    counter = FloorCounter(0.709, THRESHOLDS)
    blank = np.zeros_like(astronaut)
    assert counter.macs(astronaut, 40) > counter.macs(blank, 40) > counter.macs(blank, 80)
    # What came before does not count.
    assert counter.macs(blank, 40) == counter.macs(blank, 40)
