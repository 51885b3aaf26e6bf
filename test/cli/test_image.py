"""`mask-detector image`."""

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from mask_detector_ros.cli import main

FAST = ("--threads", "1", "--min-face-size", "60")


def run(*arguments):
    """The command in a process of its own, as a user runs it."""
    return subprocess.run(
        [sys.executable, "-m", "mask_detector_ros.cli", "image", *map(str, arguments), *FAST],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.fixture
def folder(tmp_path, astronaut_file):
    """Two good pictures, one damaged one, and a file that is no picture."""
    folder = tmp_path / "pictures of März"
    folder.mkdir()
    (folder / "1 face ü.png").write_bytes(astronaut_file.read_bytes())
    cv2.imwrite(str(folder / "empty.png"), np.full((80, 100, 3), 90, np.uint8))
    (folder / "broken.jpg").write_text("not a picture")
    (folder / "notes.txt").write_text("notes")
    return folder


def test_good_pictures_are_done_and_a_broken_one_among_them_is_reported(folder, tmp_path):
    output = tmp_path / "öut put" / "deep"
    done = run(folder, "-o", output)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{folder / '1 face ü.png'}: 1 ")
    assert lines[1] == f"{folder / 'empty.png'}: no face"
    errors = done.stderr.splitlines()
    assert len(errors) == 2
    assert errors[0].startswith(f"error: {folder / 'broken.jpg'} is damaged or not an image")
    assert errors[1] == "error: 1 of 3 pictures failed"
    assert sorted(path.name for path in output.iterdir()) == ["1 face ü.png", "empty.png"]


def test_annotated_pictures_have_the_size_of_their_originals_and_show_the_face(folder, tmp_path):
    original = (folder / "1 face ü.png").read_bytes()
    assert main(["image", str(folder / "1 face ü.png"), "-o", str(tmp_path / "out"), *FAST]) == 0
    before = cv2.imdecode(np.frombuffer(original, np.uint8), cv2.IMREAD_COLOR)
    drawn = np.fromfile(tmp_path / "out" / "1 face ü.png", np.uint8)
    after = cv2.imdecode(drawn, cv2.IMREAD_COLOR)
    assert after.shape == before.shape
    assert (after != before).any()
    assert (folder / "1 face ü.png").read_bytes() == original


def test_a_file_name_that_the_terminal_cannot_show_is_no_error(tmp_path, astronaut_file):
    strange = os.fsencode(tmp_path) + b"/\xff.png"
    with open(strange, "wb") as file:
        file.write(astronaut_file.read_bytes())
    done = run(os.fsdecode(strange))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{tmp_path}/\\udcff.png: 1 ")
    assert json.loads(run(os.fsdecode(strange), "--json").stdout)["file"] == os.fsdecode(strange)


def test_json_is_one_object_a_picture(folder, capsys):
    assert main(["image", str(folder), "--json", *FAST]) == 1
    face, empty = map(json.loads, capsys.readouterr().out.splitlines())
    assert face["file"] == str(folder / "1 face ü.png")
    assert (face["width"], face["height"]) == (256, 256)
    assert len(face["faces"]) == 1
    assert set(face["faces"][0]) == {"box", "score", "landmarks", "label", "probabilities"}
    assert empty == {"file": str(folder / "empty.png"), "width": 100, "height": 80, "faces": []}


def test_a_missing_picture_is_one_line_and_no_traceback(tmp_path):
    done = run(tmp_path / "nothing.png")
    assert done.returncode == 1
    assert done.stdout == ""
    missing = tmp_path / "nothing.png"
    assert (
        done.stderr == f"error: {missing} does not exist; give a picture or a folder of pictures\n"
    )


def test_a_folder_without_pictures_is_one_line(tmp_path, capsys):
    assert main(["image", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"error: there is no image in {tmp_path}")


def test_an_explicit_model_that_is_missing_is_one_line(astronaut_file, capsys):
    assert main(["image", str(astronaut_file), "--classifier-model", "no such file"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: cannot read no such file")
    assert err.count("\n") == 1


def test_an_output_never_replaces_an_input(folder, capsys):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert main(["image", str(folder), "-o", str(folder)]) == 2
    assert "would be overwritten; give another folder with -o" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_an_output_that_is_a_file_is_wrong_use(astronaut_file, folder, capsys):
    assert main(["image", str(astronaut_file), "-o", str(folder / "notes.txt")]) == 2
    assert "cannot make the folder" in capsys.readouterr().err


def test_pictures_of_one_name_do_not_replace_each_other(folder, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    (other / "empty.png").write_bytes((folder / "empty.png").read_bytes())
    pictures = [str(folder / "empty.png"), str(other / "empty.png")]
    assert main(["image", *pictures, "-o", str(tmp_path / "out"), *FAST]) == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["empty.png", "empty_2.png"]


def test_a_picture_whose_format_cannot_be_written_becomes_png_beside_others(folder, tmp_path):
    (folder / "empty.photo").write_bytes((folder / "empty.png").read_bytes())
    pictures = [str(folder / "empty.photo"), str(folder / "empty.png")]
    assert main(["image", *pictures, "-o", str(tmp_path / "out"), *FAST]) == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["empty.png", "empty_2.png"]
