"""`mask-detector video`."""

import json
import re
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest

from mask_detector_ros.cli import main

FAST = ("--threads", "1", "--min-face-size", "60")


def command(*arguments):
    return [sys.executable, "-m", "mask_detector_ros.cli", "video", *map(str, arguments), *FAST]


def run(*arguments):
    """The command in a process of its own, as a user runs it."""
    return subprocess.run(command(*arguments), capture_output=True, encoding="utf-8", check=False)


def read(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (result := capture.read())[0]:
        frames.append(result[1])
    capture.release()
    return frames


@pytest.fixture
def video(tmp_path, astronaut_file):
    """Four frames: the face, twice nothing, the face."""
    face = cv2.imread(str(astronaut_file))
    writer = cv2.VideoWriter(
        str(tmp_path / "in.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (256, 256)
    )
    for image in (face, np.zeros_like(face), np.zeros_like(face), face):
        writer.write(image)
    writer.release()
    return tmp_path / "in.mp4"


def test_five_frames_of_the_sample_become_a_video_of_five_frames(tmp_path):
    output = tmp_path / "neu er" / "x ß.mp4"
    done = run("sample", "--frames", "5", "-o", output)
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.startswith("5 frames, ")
    assert "frames/s in the detector; faces seen: " in done.stdout
    frames = read(output)
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
    shown, hidden = (np.array(read(output), float) for output in outputs)
    change = np.abs(shown - hidden).mean(axis=(1, 2, 3))
    assert change[0] > 3
    assert change[1] < 1, "without a face nothing is hidden"


def test_a_folder_of_pictures_is_a_video_too(tmp_path, astronaut_file, capsys):
    for number in (1, 2, 10):
        (tmp_path / f"{number}.png").write_bytes(astronaut_file.read_bytes())
    assert main(["video", str(tmp_path), "--json", "-o", str(tmp_path / "x.mp4"), *FAST]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["name"] for record in records] == ["1.png", "2.png", "10.png"]
    assert len(read(tmp_path / "x.mp4")) == 3


def test_a_text_file_is_one_line_and_leaves_no_output(tmp_path):
    (tmp_path / "notes.mp4").write_text("These are notes.\n" * 50)
    done = run(tmp_path / "notes.mp4", "-o", tmp_path / "x.mp4")
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


@pytest.mark.parametrize("name", ["x.avi", "x", "mp4"])
def test_an_output_that_is_no_mp4_is_wrong_use(video, tmp_path, name, capsys):
    assert main(["video", str(video), "-o", str(tmp_path / name)]) == 2
    assert "-o takes a file name that ends in .mp4" in capsys.readouterr().err
    assert not (tmp_path / name).exists()


def test_the_input_is_never_the_output(video, capsys):
    before = video.read_bytes()
    detour = video.parent / "folder" / ".." / video.name
    (video.parent / "folder").mkdir()
    assert main(["video", str(video), "-o", str(detour)]) == 2
    assert "is the input; give another name with -o" in capsys.readouterr().err
    assert video.read_bytes() == before


def test_an_output_that_cannot_be_written_is_one_line(video, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["video", str(video), "-o", str(tmp_path / "file" / "x.mp4")]) == 1
    assert capsys.readouterr().err.startswith("error: cannot write ")


@pytest.mark.parametrize("count", ["0", "-3"])
def test_a_number_of_frames_below_one_is_wrong_use(count, capsys):
    assert main(["video", "sample", "--frames", count]) == 2
    assert "--frames must be at least 1" in capsys.readouterr().err


def test_an_interrupt_ends_the_run_and_keeps_what_was_written(tmp_path):
    output = tmp_path / "x.mp4"
    process = subprocess.Popen(
        command("sample", "--json", "-o", output),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    lines = [process.stdout.readline() for _ in range(3)]
    process.send_signal(signal.SIGINT)
    rest, err = process.communicate()
    assert process.returncode == 0
    printed = [json.loads(line) for line in [*lines, *rest.splitlines()]]
    said = re.match(r"interrupted after (\d+) frames; what was written is kept\n", err)
    # The signal may fall between printing a frame and counting it.
    assert int(said[1]) in (len(printed) - 1, len(printed))
    assert len(read(output)) >= len(printed)
