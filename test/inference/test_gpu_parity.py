# SPDX-License-Identifier: Apache-2.0
"""GPU sessions are compared with the CPU on smooth noise."""

import numpy as np
import pytest
from gpu_stand_in import network

from mask_detector_ros.errors import ModelError
from mask_detector_ros.inference import create_session
from mask_detector_ros.inference.gpu_parity import LIMITS, check_parity
from mask_detector_ros.inference.session import Session
from mask_detector_ros.models import find_classifier, find_detector


class Changed(Session):
    """A session whose outputs are changed."""

    backend = device = "changed"

    def __init__(self, session, change):
        self.name, self.metadata = session.name, session.metadata
        self.inputs, self.outputs = session.inputs, session.outputs
        self.fed = []
        self._session, self._change = session, change

    def _run(self, arrays):
        self.fed += arrays.values()
        out = self._session.run(**arrays)
        return {name: self._change(values) for name, values in out.items()}


@pytest.fixture
def reference():
    return create_session(network(), "scale", "onnxruntime", 1)


def check(reference, change, precision="fp32", **options):
    return check_parity(
        Changed(reference, change), reference, [{"x": (8, 3)}, {"x": (1, 3)}], precision, **options
    )


def test_equal_networks_pass(reference):
    assert check(reference, lambda values: values) == 0


@pytest.mark.parametrize("precision", LIMITS)
def test_the_limit_depends_on_the_precision(reference, precision):
    limit = LIMITS[precision]
    assert check(reference, lambda v: v + 0.9 * limit, precision) == pytest.approx(
        0.9 * limit, rel=0.01
    )
    with pytest.raises(ModelError, match=f"in {precision} differs from the CPU by .* in y at"):
        check(reference, lambda v: v + 1.1 * limit, precision)


def test_int8_may_differ_more(reference):
    check(reference, lambda v: v + 0.1, "fp16", quantised=True)
    with pytest.raises(ModelError):
        check(reference, lambda v: v + 0.2, "fp16", quantised=True)


def test_no_number_and_another_shape_never_pass(reference):
    with pytest.raises(ModelError, match="differs from the CPU by nan"):
        check(reference, lambda v: np.full_like(v, np.nan))
    with pytest.raises(ModelError, match=r"gives y \(8, 2\), the CPU gives \(8, 3\)"):
        check(reference, lambda v: v[:, :2])


def test_the_network_is_fed_as_its_metadata_says():
    model = network(metadata={"scale": "0.00784314", "offset": "-1"})
    session = Changed(create_session(model, "scale", "onnxruntime", 1), lambda v: v)
    check_parity(session, session._session, [{"x": (64, 3)}], "fp32")
    (fed,) = session.fed
    assert -1 <= fed.min() < -0.1
    assert 0.1 < fed.max() < 1.001


def test_bytes_are_fed_as_bytes():
    reference = create_session(find_classifier("mask_classifier"), "c", "onnxruntime", 1)
    session = Changed(reference, lambda v: v)
    (tensor,) = reference.inputs
    check_parity(session, reference, [{tensor.name: (2, *tensor.shape[1:])}], "fp32")
    assert session.fed[0].dtype == tensor.dtype
    assert session.fed[0].std() > 20


@pytest.fixture
def rnet():
    return create_session(find_detector("mtcnn")["rnet"], "rnet", "onnxruntime", 1)


def compare_rnet(rnet, change):
    shape = {"images": (16, 3, 24, 24)}
    return check_parity(Changed(rnet, change), rnet, [shape], "fp32")


def test_scores_that_every_threshold_rejects_may_differ(rnet):
    # One library bounds the sigmoid, another does not: a root of tiny scores shows it.
    def raise_low(values):
        return np.maximum(values, 0.05) if values.ndim == 2 and values.shape[1] == 1 else values

    assert compare_rnet(rnet, raise_low) == 0


def test_a_score_that_rises_above_them_is_a_difference(rnet):
    def raise_high(values):
        return np.maximum(values, 0.5) if values.shape[1] == 1 else values

    with pytest.raises(ModelError, match=r"differs from the CPU by .* in scores"):
        compare_rnet(rnet, raise_high)


def test_no_number_is_no_low_score(rnet):
    with pytest.raises(ModelError, match="differs from the CPU by nan"):
        compare_rnet(rnet, lambda values: np.full_like(values, np.nan))
