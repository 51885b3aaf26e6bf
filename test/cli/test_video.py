# SPDX-License-Identifier: Apache-2.0
"""`mask-detector video`."""

import json
import re
import signal
import subprocess
from fractions import Fraction

import cv2
import numpy as np
import pytest
from command_line import FAST, command, read_video, run, wait

from mask_detector_ros.cli import main


def test_five_frames_of_the_sample_become_a_video_of_five_frames(tmp_path):
    output = tmp_path / "neu er" / "x ß.mp4"
    done = run("video", "sample", "--frames", "5", "-o", output)
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.startswith("5 frames, ")
    assert "frames/s in the detector; faces seen: " in done.stdout
    frames = read_video(output)
    assert [frame.shape for frame in frames] == [(480, 640, 3)] * 5


def test_json_is_one_object_a_frame_and_the_summary_goes_elsewhere(video, capsys):
    assert main(["video", str(video), "--json", *FAST]) == 0
    out, err = capsys.readouterr()
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["frame"] for record in records] == [0, 1, 2, 3]
    assert [len(record["faces"]) for record in records] == [1, 0, 0, 1]
    assert err.startswith("4 frames, ")


def test_people_are_followed_and_counted(tmp_path, astronaut_file, capsys):
    face = cv2.imread(str(astronaut_file))
    path = tmp_path / "walk.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (256, 256))
    for i in range(8):
        writer.write(np.roll(face, 3 * i, axis=1))
    writer.release()
    assert main(["video", str(path), "--json", *FAST]) == 0
    out, err = capsys.readouterr()
    records = [json.loads(line) for line in out.splitlines()]
    assert [[f["track_id"] for f in record["faces"]] for record in records] == [[1]] * 8
    assert err.endswith("; people: 1 without mask\n")
    assert main(["video", str(path), "--json", "--no-tracking", *FAST]) == 0
    out, err = capsys.readouterr()
    assert "track_id" not in out
    assert "people" not in err


def test_faces_are_hidden_on_request(video, tmp_path):
    outputs = tmp_path / "open.mp4", tmp_path / "hidden.mp4"
    for output, privacy in zip(outputs, ("off", "blur"), strict=True):
        assert main(["video", str(video), "-o", str(output), "--privacy", privacy, *FAST]) == 0
    shown, hidden = (np.array(read_video(output), float) for output in outputs)
    change = np.abs(shown - hidden).mean(axis=(1, 2, 3))
    assert change[0] > 3
    assert change[1] < 1, "without a face nothing is hidden"


def test_a_folder_of_pictures_is_a_video_too(tmp_path, astronaut_file, capsys):
    for number in (1, 2, 10):
        (tmp_path / f"{number}.png").write_bytes(astronaut_file.read_bytes())
    assert main(["video", str(tmp_path), "--json", "-o", str(tmp_path / "x.mp4"), *FAST]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["name"] for record in records] == ["1.png", "2.png", "10.png"]
    assert len(read_video(tmp_path / "x.mp4")) == 3


def test_a_text_file_is_one_line_and_leaves_no_output(tmp_path):
    (tmp_path / "notes.mp4").write_text("These are notes.\n" * 50)
    done = run("video", tmp_path / "notes.mp4", "-o", tmp_path / "x.mp4")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path / 'notes.mp4'} is a text file, not a video")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "x.mp4").exists()


@pytest.mark.parametrize("name", ["nothing.mp4", "nothing", "/dev/video97"])
def test_a_missing_input_is_one_line(tmp_path, name, capsys):
    assert main(["video", str(tmp_path / name)]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("count", ["0", "-3"])
def test_a_number_of_frames_below_one_is_wrong_use(count, capsys):
    assert main(["video", "sample", "--frames", count]) == 2
    assert "--frames must be at least 1" in capsys.readouterr().err


STOPS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("how", STOPS, ids=lambda how: how.name)
def test_a_signal_ends_the_run_and_keeps_what_was_written(how, tmp_path):
    output = tmp_path / "x.mp4"
    files = ("--csv", tmp_path / "x.csv", "--coco", tmp_path / "x.json")
    process = subprocess.Popen(
        command("video", "sample", "--json", "-o", output, *files),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    lines = [process.stdout.readline() for _ in range(3)]
    process.send_signal(how)
    rest, err = wait(process), process.stderr.read()
    assert process.returncode == 0, "the sample scene has no end that could be missing"
    printed = [json.loads(line) for line in [*lines, *rest.splitlines()]]
    said = re.match(r"interrupted after (\d+) frames; what was written is kept\n\d+ frames", err)
    assert int(said[1]) == len(printed), err
    assert len(read_video(output)) == len(printed), err
    assert len(json.loads((tmp_path / "x.json").read_text())["images"]) == len(printed)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.csv", "x.json", "x.mp4"]


def test_a_file_that_was_interrupted_says_so_by_its_exit_code(tmp_path, astronaut_file):
    face = cv2.resize(cv2.imread(str(astronaut_file)), (128, 128))
    writer = cv2.VideoWriter(
        str(tmp_path / "in.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (128, 128)
    )
    for _ in range(3000):
        writer.write(face)
    writer.release()
    process = subprocess.Popen(
        command("video", tmp_path / "in.avi", "--json", "-o", tmp_path / "x.mp4"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    )
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    rest = wait(process)
    assert process.returncode == 130
    assert len(read_video(tmp_path / "x.mp4")) == 1 + len(rest.splitlines())


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_a_file_that_was_cut_off_is_told_by_exit_code_and_count(suffix, tmp_path, capsys):
    """Given an mp4 with its index at the front, as on the web."""
    av = pytest.importorskip("av", reason="needs PyAV: pip install av")
    path = tmp_path / f"in{suffix}"
    options = {"movflags": "+faststart"} if suffix == ".mp4" else {}
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", options=options) as file:
        stream = file.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for _ in range(90):
            image = rng.integers(0, 256, (120, 160, 3), np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        file.mux(stream.encode(None))
    assert main(["video", str(path), *FAST]) == 0
    capsys.readouterr()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 4])
    assert main(["video", str(path), "-o", str(tmp_path / "x.mp4"), *FAST]) == 1
    out, err = capsys.readouterr()
    frames = int(out.split()[0])
    assert 10 < frames < 40
    assert f"{path} ends after {frames} of" in err
    assert "cut off" in err
    assert len(read_video(tmp_path / "x.mp4")) == frames


@pytest.fixture
def uneven_video(tmp_path, astronaut_file):
    """Four frames at 0, 0.1, 0.2 and 3 seconds, as phones film in the dark."""
    av = pytest.importorskip("av", reason="needs PyAV: pip install av")
    face = cv2.imread(str(astronaut_file))
    with av.open(str(tmp_path / "uneven.mp4"), "w") as file:
        stream = file.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = 256, 256, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for time_ms in (0, 100, 200, 3000):
            frame = av.VideoFrame.from_ndarray(face, format="bgr24")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return tmp_path / "uneven.mp4"


def test_times_are_those_of_the_container(uneven_video, tmp_path, capsys):
    output = tmp_path / "x.mp4"
    assert main(["video", str(uneven_video), "--json", "-o", str(output), *FAST]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    np.testing.assert_allclose([r["time"] for r in records], [0, 0.1, 0.2, 3.0], atol=0.002)
    capture, times = cv2.VideoCapture(str(output)), []
    while capture.read()[0]:
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    assert times[-1] == pytest.approx(3.0, abs=0.05)
