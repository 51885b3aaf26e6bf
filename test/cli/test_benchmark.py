# SPDX-License-Identifier: Apache-2.0
"""`mask-detector benchmark`."""

import argparse
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mask_detector_ros.cli import main
from mask_detector_ros.cli.benchmark import listed, number, read_size


def leave(arguments, capsys):
    """Run a command that exits by itself; return its exit code and stderr."""
    with pytest.raises(SystemExit) as exit_:
        main(["benchmark", *arguments])
    return exit_.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--sizes", "640"], "must be WIDTHxHEIGHT, each from 64 to 8192, such as 640x480"),
        (["--sizes", "640x480,9x9"], "got '9x9'"),
        (["--faces", "51"], "must be a whole number from 0 to 50, got '51'"),
        (["--faces", "-1"], "--faces"),
        (["--min-faces", "20,small"], "got 'small'"),
        (["--threads", "0"], "must be a whole number from 1 to 256, got '0'"),
        (["--threads", ""], "must be a whole number"),
        (["--peers", "yolo"], "must be one of facenet-pytorch, mtcnn, "),
        (["--backends", "abacus"], "must be one of onnxruntime, openvino, tensorrt"),
        (["--rounds", "0"], "must be a whole number from 1"),
        (["--frames", "some"], "got 'some'"),
    ],
)
def test_a_wrong_value_is_one_line_and_exit_code_2(arguments, reason, capsys):
    code, err = leave(arguments, capsys)
    assert code == 2
    assert err.count("\n") == 1
    assert reason in err


def test_four_way_takes_no_other_cases(capsys):
    assert main(["benchmark", "--four-way", "--faces", "3"]) == 2
    assert "--four-way has its own case" in capsys.readouterr().err


def test_a_picture_that_is_none_is_named(tmp_path, capsys):
    assert main(["benchmark", str(tmp_path / "none.png")]) == 1
    assert "none.png" in capsys.readouterr().err


@pytest.mark.slow
def test_a_report_of_ours_alone_with_what_is_missing(tmp_path, astronaut_file, capsys, monkeypatch):
    monkeypatch.setattr("mask_detector_ros.speed.timing.WARM_UP_ROUNDS", 1)
    output = tmp_path / "new" / "report"
    axes = ["--sizes", "96x72,128x96,160x120", "--faces", "0,1,2", "--min-faces", "40"]
    fast = ["--rounds", "1", "--frames", "1", "--backends", "onnxruntime"]
    others = ["--peers", "mtcnn", "--environments", str(tmp_path / "nowhere")]
    picture = str(astronaut_file)
    code = main(["benchmark", picture, *axes, *fast, *others, "-o", str(output)])
    out = capsys.readouterr().out
    assert code == 0
    assert "not measured: mtcnn; mtcnn + MobileNetV2 in Keras: no environment" in out
    assert "make bench-env" in out
    report = json.loads((output / "report.json").read_text())
    assert {"machine", "frames_sha256", "versions", "absent", "rows", "lines"} <= set(report)
    assert len(report["frames_sha256"]) == 64
    # Two jobs at three sizes with three numbers of faces, and on the picture.
    assert len(report["rows"]) == 2 * (3 * 3 + 1)
    detected = [row for row in report["rows"] if row["job"] == "detect"]
    assert all(row["floor_ms"] > 0 for row in detected)
    (own,) = [row for row in detected if row["size"] is None]
    assert own["found"] == 1
    assert {line["against"] for line in report["lines"]} == {"faces", "megapixels"}
    for name in ("cost_by_faces", "cost_by_megapixels"):
        assert f"plots/{name}.svg" in (output / "report.md").read_text()
        assert (output / "plots" / f"{name}.svg").read_text().count("<svg") == 1


@given(st.integers(64, 8192), st.integers(64, 8192))
def test_a_size_is_read_as_it_is_written(width, height):
    assert read_size(f"{width}x{height}") == (width, height)


@given(st.text())
def test_any_text_is_a_size_or_refused(text):
    try:
        width, height = read_size(text)
    except argparse.ArgumentTypeError:
        return
    assert 64 <= width <= 8192
    assert 64 <= height <= 8192


@given(st.lists(st.integers(0, 50), min_size=1))
def test_values_are_read_in_order_and_each_once(values):
    read = listed(number(0, 50))(",".join(map(str, values)))
    assert read == list(dict.fromkeys(values))


def test_a_yunet_file_that_does_not_exist_is_wrong_use(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["benchmark", "--yunet", "nowhere.onnx"])
    assert exit_.value.code == 2
    assert "must be a file, got 'nowhere.onnx'" in capsys.readouterr().err
