# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning the cascade; needs the extra `train`."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train`")
pytest.importorskip("onnx", reason="needs the extra `train`")

from mask_detector_ros.inference import create_session  # noqa: E402
from training.make_mtcnn_onnx import NETS  # noqa: E402
from training.mtcnn_data import (  # noqa: E402
    NEGATIVE,
    PART,
    POSITIVE,
    Samples,
)
from training.mtcnn_networks import SIDES, CascadeNetwork  # noqa: E402
from training.mtcnn_settings import Settings  # noqa: E402
from training.mtcnn_training_loop import (  # noqa: E402
    Batch,
    draw_epoch,
    fine_tune,
    generalised_overlap,
    intersection_over_union,
    loss_of,
    mirror,
    take_batch,
)
from training.settings_file import read_settings  # noqa: E402
from training.train_mtcnn import SETTINGS_FILE, to_onnx  # noqa: E402

SETTINGS = read_settings(Settings, SETTINGS_FILE)


def random_weights(name, seed=0):
    """Weights of the form of the net, with small random numbers."""
    rng = np.random.default_rng(seed)

    def layer(*shape):
        scale = 0.5 / np.sqrt(np.prod(shape[1:]))
        return rng.normal(0, scale, shape).astype("f4"), rng.normal(0, 0.1, shape[0]).astype("f4")

    widths, kernels, hidden = {
        "pnet": ([10, 16, 32], [3, 3, 3], None),
        "rnet": ([28, 48, 64], [3, 3, 2], (576, 128)),
        "onet": ([32, 64, 64, 128], [3, 3, 3, 2], (1152, 256)),
    }[name]
    convolutions = [
        layer(width, inputs, kernel, kernel)
        for width, inputs, kernel in zip(widths, [3, *widths], kernels, strict=False)
    ]
    outputs = sum(NETS[name][2].values())
    convolutions[0] = (convolutions[0][0] / 128, convolutions[0][1])
    slopes = [rng.uniform(-0.5, 0.5, width).astype("f4") for width in widths]
    if hidden is None:
        return [*convolutions, layer(outputs, widths[-1], 1, 1)], [], slopes
    slopes.append(rng.uniform(-0.5, 0.5, hidden[1]).astype("f4"))
    return convolutions, [layer(hidden[1], hidden[0]), layer(outputs, hidden[1])], slopes


@pytest.mark.parametrize("name", SIDES)
def test_the_torch_net_and_its_onnx_file_say_the_same(name):
    network = CascadeNetwork(name, random_weights(name)).eval()
    side = SIDES[name]
    pixels = np.random.default_rng(1).integers(0, 256, (3, 3, side, side)).astype(np.float32)
    with torch.no_grad():
        ours = network(torch.from_numpy(pixels)).numpy()
    theirs = create_session(to_onnx(name, network.weights()), name, threads=1).run(images=pixels)
    np.testing.assert_allclose(1 / (1 + np.exp(-ours[:, 0])), theirs["scores"].ravel(), atol=1e-5)
    np.testing.assert_allclose(ours[:, 1:5], theirs["offsets"].reshape(3, 4), atol=1e-4)
    if name == "onet":
        np.testing.assert_allclose(ours[:, 5:], theirs["landmarks"], atol=1e-4)


@pytest.mark.parametrize("name", SIDES)
def test_weights_come_back_as_they_went_in(name):
    weights = random_weights(name)
    again = CascadeNetwork(name, weights).weights()
    for before, after in zip(weights[0] + weights[1], again[0] + again[1], strict=True):
        for a, b in zip(before, after, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


def toy_samples(count=96, side=12):
    """Bright crops are faces, dark ones background."""
    rng = np.random.default_rng(0)
    kinds = (np.arange(count) % 3).astype(np.int8)
    crops = (60 * kinds[:, None, None, None] + rng.integers(0, 40, (count, side, side, 3))).astype(
        np.uint8
    )
    labels = np.where(kinds == NEGATIVE, -1, rng.integers(0, 3, count)).astype(np.int8)
    offsets = rng.normal(0, 0.1, (count, 4)).astype(np.float32)
    return Samples(crops, kinds, labels, offsets, np.full((count, 10), np.nan, np.float32))


def test_an_epoch_has_kinds_and_mask_states_in_their_shares():
    samples = toy_samples()
    drawn = draw_epoch(samples, SETTINGS, 20_000, seed=0)
    shares = np.bincount(samples.kinds[drawn], minlength=3) / len(drawn)
    np.testing.assert_allclose(shares[[NEGATIVE, PART, POSITIVE]], SETTINGS.kind_shares, atol=0.02)
    faces = drawn[samples.kinds[drawn] == POSITIVE]
    of_faces = np.bincount(samples.labels[faces], minlength=3) / len(faces)
    np.testing.assert_allclose(of_faces, SETTINGS.label_shares, atol=0.03)


def test_mirroring_twice_changes_nothing():
    batch = take_batch(toy_samples(), np.arange(8))
    batch.landmarks = torch.rand(8, 10)
    everyone = torch.ones(8, dtype=torch.bool)
    again: Batch = mirror(mirror(batch, everyone), everyone)
    torch.testing.assert_close(again.pixels, batch.pixels)
    torch.testing.assert_close(again.offsets, batch.offsets)
    torch.testing.assert_close(again.landmarks, batch.landmarks)


def test_a_mirrored_box_and_landmark_change_sides():
    batch = take_batch(toy_samples(), np.arange(1))
    batch.offsets = torch.tensor([[0.1, 0.2, -0.3, -0.4]])
    batch.landmarks = torch.tensor([[0.2, 0.9, 0.5, 0.3, 0.8, 0.1, 0.2, 0.3, 0.4, 0.5]])
    mirrored = mirror(batch, torch.ones(1, dtype=torch.bool))
    torch.testing.assert_close(mirrored.offsets, torch.tensor([[0.3, 0.2, -0.1, -0.4]]))
    torch.testing.assert_close(
        mirrored.landmarks,
        torch.tensor([[0.1, 0.8, 0.5, 0.2, 0.7, 0.2, 0.1, 0.3, 0.5, 0.4]]),
    )


TOY_SETTINGS = replace(
    SETTINGS,
    batch_size=32,
    epochs={"pnet": 2},
    samples_per_epoch={"pnet": 640},
    learning_rate={"pnet": 0.01},
    weight_average=0.9,
)


def test_training_teaches_a_net_to_tell_faces():
    samples = toy_samples()
    network = fine_tune(
        CascadeNetwork("pnet", random_weights("pnet")), samples, TOY_SETTINGS, device="cpu"
    )
    with torch.no_grad():
        logits = network(take_batch(samples, np.arange(len(samples))).pixels)[:, 0].numpy()
    assert logits[samples.kinds == POSITIVE].mean() > logits[samples.kinds == NEGATIVE].mean() + 1


def test_an_interrupted_training_ends_as_one_that_was_not(tmp_path, monkeypatch):
    samples, start = toy_samples(), random_weights("pnet")
    whole = fine_tune(CascadeNetwork("pnet", start), samples, TOY_SETTINGS, "cpu")
    checkpoint = tmp_path / "pnet.epoch"

    def interrupted(samples, settings, count, seed):
        if seed > settings.seed:
            raise KeyboardInterrupt
        return draw_epoch(samples, settings, count, seed)

    with monkeypatch.context() as patch:
        patch.setattr("training.mtcnn_training_loop.draw_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fine_tune(CascadeNetwork("pnet", start), samples, TOY_SETTINGS, "cpu", checkpoint)
    resumed = fine_tune(CascadeNetwork("pnet", start), samples, TOY_SETTINGS, "cpu", checkpoint)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_generalised_overlap_of_equal_half_and_distant_boxes():
    offsets = torch.tensor([[0.1, 0, 0, 0.2], [0.0, 0, 0, 0], [0, 0, 0, 0]])
    others = torch.tensor([[0.1, 0, 0, 0.2], [0.5, 0, 0, 0], [2.0, 0, 2, 0]])
    # The last two boxes lie in a hull of three unit squares, one of which is in neither.
    torch.testing.assert_close(
        generalised_overlap(offsets, others), torch.tensor([1.0, 0.5, -1 / 3])
    )


def test_overlap_of_the_boxes_that_offsets_lead_to():
    offsets = torch.tensor([[0.1, 0, 0, 0.2], [0.0, 0, 0, 0], [0, 0, 0, 0]])
    others = torch.tensor([[0.1, 0, 0, 0.2], [0.5, 0, 0, 0], [2.0, 0, 2, 0]])
    torch.testing.assert_close(
        intersection_over_union(offsets, others), torch.tensor([1.0, 0.5, 0.0])
    )


def test_for_quality_the_best_score_is_how_well_the_box_fits():
    low, high = SETTINGS.quality_range
    shifts = torch.linspace(0, 0.6, 13)  # to the right, by this much of the side
    zero = torch.zeros_like(shifts)
    offsets = torch.stack([shifts, zero, shifts, zero], 1)
    fits = (1 - shifts) / (1 + shifts)
    for shift, offset, fit in zip(shifts, offsets, fits, strict=True):
        batch = Batch(
            torch.zeros(1, 3, 12, 12),
            torch.tensor([PART]),
            torch.zeros(1, 4),
            torch.full((1, 10), torch.nan),
        )

        def loss(logit, offset=offset, batch=batch):
            outputs = torch.cat([logit.reshape(1, 1), offset[None]], 1)
            return float(loss_of(outputs, batch, SETTINGS, quality=True))

        logits = torch.linspace(-8, 8, 321)
        best = torch.sigmoid(logits[np.argmin([loss(x) for x in logits])])
        wanted = ((fit - low) / (high - low)).clamp(0, 1)
        assert float(best) == pytest.approx(float(wanted), abs=0.02), float(shift)


def test_a_second_phase_teaches_the_score_to_follow_the_fit(tmp_path):
    settings = replace(TOY_SETTINGS, quality_epochs={"pnet": 1})
    network = CascadeNetwork("pnet", random_weights("pnet"))
    before = [p.clone() for p in network.parameters()]
    after = fine_tune(network, toy_samples(), settings, "cpu", tmp_path / "q", quality=True)
    assert any((a != b).any() for a, b in zip(after.parameters(), before, strict=True))
    none = fine_tune(
        CascadeNetwork("pnet", random_weights("pnet")),
        toy_samples(),
        replace(settings, quality_epochs={"pnet": 0}),
        "cpu",
        quality=True,
    )
    for a, b in zip(none.parameters(), before, strict=True):
        torch.testing.assert_close(a, b)
