# SPDX-License-Identifier: Apache-2.0
"""`mask-detector video`."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from fractions import Fraction

import cv2
import numpy as np
import pytest
from network_camera import NetworkCamera

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
def test_an_output_that_is_no_video_is_wrong_use(video, tmp_path, name, capsys):
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


STOPS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("how", STOPS, ids=lambda how: how.name)
def test_a_signal_ends_the_run_and_keeps_what_was_written(how, tmp_path):
    output = tmp_path / "x.mp4"
    files = ("--csv", tmp_path / "x.csv", "--coco", tmp_path / "x.json")
    process = subprocess.Popen(
        command("sample", "--json", "-o", output, *files),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    lines = [process.stdout.readline() for _ in range(3)]
    process.send_signal(how)
    rest, err = process.communicate()
    assert process.returncode == 0, "the sample scene has no end that could be missing"
    printed = [json.loads(line) for line in [*lines, *rest.splitlines()]]
    said = re.match(r"interrupted after (\d+) frames; what was written is kept\n\d+ frames", err)
    assert int(said[1]) == len(printed), err
    assert len(read(output)) == len(printed), err
    assert len(json.loads((tmp_path / "x.json").read_text())["images"]) == len(printed)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.csv", "x.json", "x.mp4"]


def test_a_file_that_was_interrupted_says_so_by_its_exit_code(tmp_path, astronaut_file):
    face = cv2.imread(str(astronaut_file))
    writer = cv2.VideoWriter(
        str(tmp_path / "in.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (256, 256)
    )
    for _ in range(3000):
        writer.write(face)
    writer.release()
    process = subprocess.Popen(
        command(tmp_path / "in.avi", "--json", "-o", tmp_path / "x.mp4"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    )
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate()
    assert process.returncode == 130
    assert len(read(tmp_path / "x.mp4")) == 1 + len(rest.splitlines())


@pytest.mark.parametrize("way", ["same", "file url", "hard link", "symbolic link"])
@pytest.mark.parametrize("option", ["-o", "--csv"])
def test_the_input_is_never_replaced_by_whatever_name(way, option, video, capsys):
    before, other = video.read_bytes(), video.with_name("other.mp4")
    name, output = str(video), video
    if way == "file url":
        name = f"file://{video}"
    elif way == "hard link":
        os.link(video, other)
        output = other
    elif way == "symbolic link":
        other.symlink_to(video)
        name, output = str(other), video
    assert main(["video", name, option, str(output), "--overwrite", *FAST]) == 2
    assert "is the input; give another name with" in capsys.readouterr().err
    assert video.read_bytes() == before


@pytest.mark.parametrize("option", ["-o", "--csv", "--coco", "--rrd"])
def test_the_input_is_not_replaced_by_way_of_a_folder_that_is_not_there_yet(option, video, capsys):
    before = video.read_bytes()
    detour = video.parent / "new" / ".." / video.name
    assert main(["video", str(video), option, str(detour), "--overwrite", *FAST]) == 2
    assert "is the input; give another name with" in capsys.readouterr().err
    assert video.read_bytes() == before


def test_an_existing_file_is_replaced_only_on_request(video, tmp_path, capsys):
    output = tmp_path / "x.mp4"
    output.write_bytes(b"something else")
    assert main(["video", str(video), "-o", str(output), *FAST]) == 2
    assert "exists; give another name with -o, or --overwrite" in capsys.readouterr().err
    assert output.read_bytes() == b"something else"
    assert main(["video", str(video), "-o", str(output), "--overwrite", *FAST]) == 0
    assert len(read(output)) == 4


def test_an_older_file_stays_where_the_run_fails(tmp_path):
    (tmp_path / "notes.mp4").write_text("These are notes.\n" * 50)
    (tmp_path / "x.mp4").write_bytes(b"an older video")
    done = run(tmp_path / "notes.mp4", "-o", tmp_path / "x.mp4", "--overwrite")
    assert done.returncode == 1
    assert (tmp_path / "x.mp4").read_bytes() == b"an older video"


def limit_files():
    """Of more than 5 kB nothing is written, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))


@pytest.mark.parametrize("option", ["-o", "--csv", "--coco"])
def test_a_full_disk_is_one_line_and_leaves_nothing(option, tmp_path):
    output = tmp_path / "x.mp4"
    # Enough frames and faces for each kind of file to meet the limit.
    done = subprocess.run(
        command("sample", "--frames", "60", option, output, "--min-face-size", "30"),
        preexec_fn=limit_files,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: cannot write {output}"), done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_full_standard_output_is_one_line(video):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command(video, "--json"), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: cannot write the output (No space")


@pytest.mark.parametrize("name", ["a:b.mp4", "rtsp:x.mp4", "50%d.mp4", "~x.mp4", "ä ö.mp4"])
def test_any_relative_name_is_read_and_written(name, video, monkeypatch):
    monkeypatch.chdir(video.parent)
    video.rename(name)
    assert main(["video", name, "-o", f"new {name}", *FAST]) == 0
    assert len(read(video.parent / f"new {name}")) == 4


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_is_one_line(name, video, capsys):
    assert main(["video", name]) == 1
    assert main(["video", str(video), "-o", ""]) == 1
    assert capsys.readouterr().err.count("empty name") == 2


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_a_file_that_was_cut_off_is_told_by_exit_code_and_count(suffix, tmp_path, capsys):
    """An mp4 with its index at the front, as the web has them."""
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
    assert len(read(tmp_path / "x.mp4")) == frames


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


def numbered(number):
    """An image whose brightness says which frame it is, of 250."""
    return np.full((48, 64, 3), number, np.uint8)


def test_of_a_live_source_the_newest_frame_is_taken(tmp_path):
    """The detector gets frames of 120 Hz, more than it and the encoder can take."""
    large = np.zeros((720, 1280, 3), np.uint8)
    with NetworkCamera(image=lambda number: large, rate=120) as camera:
        begin = time.monotonic()
        done = run(camera.url, "--json", "--frames", "40", "-o", tmp_path / "x.mp4")
        passed = time.monotonic() - begin
    assert done.returncode == 0, done.stderr
    times = [json.loads(line)["time"] for line in done.stdout.splitlines()]
    assert len(times) == 40
    assert times == sorted(times)
    assert times[-1] <= passed
    assert "gave way to newer ones" in done.stderr


def test_every_frame_of_a_live_source_is_taken_on_request():
    with NetworkCamera(image=numbered, rate=100, frames=60) as camera:
        done = run(camera.url, "--json", "--every-frame", "--min-face-size", "20")
    assert len(done.stdout.splitlines()) >= 58
    assert "gave way" not in done.stderr


def test_the_end_of_a_stream_prints_the_summary_and_keeps_the_video(tmp_path):
    with NetworkCamera(rate=30, frames=20) as camera:
        done = run(camera.url, "-o", tmp_path / "x.mp4")
    assert done.returncode == 1
    assert done.stderr.startswith("error: lost the stream http://127.0.0.1:")
    assert done.stderr.count("\n") == 1
    assert re.match(r"\d+ frames, .* faces seen: no face; people: nobody\n", done.stdout)
    assert len(read(tmp_path / "x.mp4")) >= int(done.stdout.split()[0])


def test_a_lost_stream_is_waited_for_on_request():
    camera = NetworkCamera(rate=30, frames=10)
    process = subprocess.Popen(
        command(camera.url, "--json", "--reconnect"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    process.stdout.readline()
    camera.disappear()
    assert "Waiting for it" in process.stderr.readline()
    with NetworkCamera(camera.port, rate=30):
        lines = [json.loads(process.stdout.readline()) for _ in range(20)]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == 0, err
    assert [line["frame"] for line in lines] == list(range(1, 21))
    times = [line["time"] for line in lines]
    assert times == sorted(times)


SECRET_URLS = [
    "rtsp://admin:se#cret@127.0.0.1:9/live",
    "rtsp://admin:se/cret@127.0.0.1:9/live",
    "rtsp://admin:se?cret@127.0.0.1:9/live",
    "rtsp://admin:se cret@127.0.0.1:9/live",
    "rtsp://127.0.0.1:9/user=admin_password=secret_channel=1.sdp",
    "http://127.0.0.1:9/video.cgi?loginuse=admin&loginpas=secret",
    "http://127.0.0.1:9/live?token=secret#x",
    "rtsp://admin:secret@[::1/live",
    "foo://admin:secret@host/live",
]


@pytest.mark.parametrize(
    ("url", "more"),
    [
        *((url, ()) for url in SECRET_URLS),
        (SECRET_URLS[3], ("one-too-many",)),
        (SECRET_URLS[4], ("--unknown",)),
    ],
)
def test_no_password_is_ever_printed(url, more):
    done = run(*more, url)
    assert done.returncode in (1, 2)
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr
    for part in ("secret", "cret", "admin"):
        assert part not in done.stderr + done.stdout
