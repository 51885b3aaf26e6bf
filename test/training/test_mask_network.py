# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation folded into the convolutions of a mask network."""

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")

from training.mask_network import MaskNetwork, fuse_batch_norm  # noqa: E402


def test_a_fused_network_computes_the_same_without_batch_normalisation():
    torch.manual_seed(0)
    network = MaskNetwork([4, 8], [0, 1], 3)
    crops = torch.randint(256, (6, 16, 16, 3), dtype=torch.uint8)
    for _ in range(3):
        network.train()(crops)
    before = network.eval()(crops)
    fused = fuse_batch_norm(network)
    assert torch.allclose(fused(crops), before, atol=1e-5)
    assert not any("norm" in name for name in fused.state_dict())
