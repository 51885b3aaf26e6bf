# SPDX-License-Identifier: Apache-2.0
"""Where `mask-detector video` writes: it never replaces an input, or another file without being
asked."""

import os

import pytest
from command_line import FAST, limit_files, read_video, run

from mask_detector_ros.cli import main


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
    assert len(read_video(output)) == 4


def test_an_older_file_stays_where_the_run_fails(tmp_path):
    (tmp_path / "notes.mp4").write_text("These are notes.\n" * 50)
    (tmp_path / "x.mp4").write_bytes(b"an older video")
    done = run("video", tmp_path / "notes.mp4", "-o", tmp_path / "x.mp4", "--overwrite")
    assert done.returncode == 1
    assert (tmp_path / "x.mp4").read_bytes() == b"an older video"


@pytest.mark.parametrize("option", ["-o", "--csv", "--coco"])
def test_a_full_disk_is_one_line_and_leaves_nothing(option, video, tmp_path):
    output = tmp_path / "x.mp4"
    done = run("video", video, option, output, preexec_fn=limit_files(100))
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: cannot write {output}"), done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == [video]


def test_a_full_standard_output_is_one_line(video):
    with open("/dev/full", "w") as full:
        done = run("video", video, "--json", stdout=full)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: cannot write the output (No space")


@pytest.mark.parametrize("name", ["a:b.mp4", "rtsp:x.mp4", "50%d.mp4", "~x.mp4", "ä ö.mp4"])
def test_any_relative_name_is_read_and_written(name, video, monkeypatch):
    monkeypatch.chdir(video.parent)
    video.rename(name)
    assert main(["video", name, "-o", f"new {name}", *FAST]) == 0
    assert len(read_video(video.parent / f"new {name}")) == 4


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_is_one_line(name, video, capsys):
    assert main(["video", name]) == 1
    assert main(["video", str(video), "-o", ""]) == 1
    assert capsys.readouterr().err.count("empty name") == 2


@pytest.mark.parametrize("option", ["--csv", "--coco", "--rrd"])
def test_two_outputs_of_one_name_are_wrong_use(option, video, tmp_path, capsys):
    output = str(tmp_path / "x.mp4")
    assert main(["video", str(video), "-o", output, option, output, *FAST]) == 2
    assert "two outputs are" in capsys.readouterr().err
    assert not (tmp_path / "x.mp4").exists()
