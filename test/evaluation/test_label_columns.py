# SPDX-License-Identifier: Apache-2.0
"""The labels of a model are evaluated by their roles."""

import numpy as np
import pytest

from mask_detector_ros.errors import ModelError
from mask_detector_ros.evaluation.label_columns import label_columns, to_data_set_labels


def test_probabilities_come_in_the_order_of_the_labels_of_data_sets():
    assert label_columns(("mask_worn_incorrectly", "with_mask", "without_mask"), "m") == [2, 0, 1]
    assert label_columns(("without_mask", "with_mask"), "two") == [1, 0]


def test_labels_of_another_name_are_evaluated_by_their_role():
    assert label_columns(("Sin máscara", "Con máscara"), "mine") == [1, 0]
    assert label_columns(("a", "b"), "mine", ("with_mask", "without_mask")) == [0, 1]


@pytest.mark.parametrize("names", [("with_mask",), ("helmet", "without_mask"), ("a", "b")])
def test_a_model_without_both_roles_is_rejected(names):
    with pytest.raises(ModelError, match=r"my model labels faces .* evaluate needs"):
        label_columns(names, "my model")


def test_a_label_without_a_role_is_left_out():
    columns = label_columns(("background", "no mask", "mask"), "mine")
    assert columns == [-1, 1, 0]
    rows = np.float32([[0.6, 0.1, 0.3], [0, 0.2, 0.8], [1, 0, 0]])
    found = to_data_set_labels(rows, columns)
    np.testing.assert_allclose(found[:2], [[0.75, 0.25, 0], [0.8, 0.2, 0]], rtol=1e-6)
    assert np.isfinite(found).all()


def test_labels_of_one_role_are_added():
    columns = label_columns(("cloth mask", "no mask", "surgical mask"), "mine")
    found = to_data_set_labels(np.float32([[0.3, 0.4, 0.3]]), columns)
    np.testing.assert_allclose(found, [[0.6, 0.4, 0]], rtol=1e-6)
