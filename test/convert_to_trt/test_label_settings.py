# SPDX-License-Identifier: Apache-2.0
"""Labels and roles come from the options, or else from the file."""

import pytest

from convert_to_trt.label_settings import read_labels, settle_labels, settle_roles
from mask_detector_ros.errors import ParameterError


@pytest.mark.parametrize("text", ["", "a", "a,", "a,b,a", " , "])
def test_labels_are_two_or_more_different_names(text):
    with pytest.raises(ParameterError, match="--labels takes"):
        read_labels(text)


@pytest.mark.parametrize(
    "text",
    ["mask,no mask", "['mask', 'no mask']", '["mask", "no mask"]', '{"1": "no mask", "0": "mask"}'],
)
def test_the_metadata_may_have_the_form_of_any_tool(text):
    assert settle_labels(None, {"labels": text}) == ("mask", "no mask")
    assert settle_labels("a,b", {"labels": text}) == ("a", "b")


def test_names_that_a_conversion_stored_stay_as_they_are():
    assert settle_labels(None, {"labels": '["0 Mask", "1 None"]'}) == ("0 Mask", "1 None")


@pytest.mark.parametrize("text", ["", "mask", '["a", "a"]', "[" * 100_000])
def test_unusable_labels_of_the_metadata_are_one_error(text):
    with pytest.raises(ParameterError, match=r"unusable labels.*give --labels"):
        settle_labels(None, {"labels": text})


def test_roles_of_the_file_belong_to_its_labels_only():
    stored = {"labels": '["a", "b"]', "roles": '["with_mask", null]'}
    assert settle_roles(None, ("a", "b"), stored) == ("with_mask", "")
    assert settle_roles(None, ("b", "a"), stored) == ("", "")
    assert settle_roles("without_mask,-", ("a", "b"), stored) == ("without_mask", "")
