# SPDX-License-Identifier: Apache-2.0
"""`mask-detector image`."""

import csv
import json
import os

import cv2
import numpy as np
import pytest
from command_line import FAST, run

from mask_detector_ros.cli import main
from mask_detector_ros.cli.result_files import CSV_COLUMNS


def test_good_pictures_are_done_and_a_broken_one_among_them_is_reported(folder, tmp_path):
    output = tmp_path / "öut put" / "deep"
    done = run("image", folder, "-o", output)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{folder / '1 face ü.png'}: 1 ")
    assert lines[1] == f"{folder / 'empty.png'}: no face"
    left_out, *errors = done.stderr.splitlines()
    assert left_out == f"left out of {folder}: 1 file without images (notes.txt)"
    assert len(errors) == 2
    assert errors[0].startswith(f"error: {folder / 'broken.jpg'} is damaged or not an image")
    assert errors[1] == "error: 1 of 3 images failed"
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


def test_a_name_that_is_not_utf8_is_valid_json_and_can_be_given_again(tmp_path, astronaut_file):
    """Latin-1, as in old archives and cameras."""
    strange = os.fsencode(tmp_path) + b"/M\xe4rz.png"
    with open(strange, "wb") as file:
        file.write(astronaut_file.read_bytes())
    done = run("image", os.fsdecode(strange))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{tmp_path}/M\\udce4rz.png: 1 ")
    record = json.loads(run("image", os.fsdecode(strange), "--json").stdout)
    assert record["file"].encode().decode() == f"{tmp_path}/März.png"
    assert record["file_uri"] == f"file://{tmp_path}/M%E4rz.png"
    again = json.loads(run("image", record["file_uri"], "--json").stdout)
    assert again == record


def test_json_is_one_object_a_picture(folder, capsys):
    assert main(["image", str(folder), "--json", *FAST]) == 1
    face, empty = map(json.loads, capsys.readouterr().out.splitlines())
    assert face["file"] == str(folder / "1 face ü.png")
    assert (face["width"], face["height"]) == (256, 256)
    assert len(face["faces"]) == 1
    assert set(face["faces"][0]) == {"box", "score", "landmarks", "label", "probabilities"}
    assert empty == {"file": str(folder / "empty.png"), "width": 100, "height": 80, "faces": []}


def test_a_missing_picture_is_one_line_and_no_traceback(tmp_path):
    done = run("image", tmp_path / "nothing.png")
    assert done.returncode == 1
    assert done.stdout == ""
    missing = tmp_path / "nothing.png"
    assert done.stderr == f"error: {missing} does not exist; give an image or a folder of images\n"


def test_a_folder_without_pictures_is_one_line(tmp_path, capsys):
    assert main(["image", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"error: there is no image in {tmp_path}")


def test_an_explicit_model_that_is_missing_is_one_line(astronaut_file, capsys):
    assert main(["image", str(astronaut_file), "--classifier-model", "no such file"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: cannot read no such file")
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_is_one_line(name, capsys, tmp_path, monkeypatch, astronaut_file):
    """The path of an empty name would be the current folder."""
    monkeypatch.chdir(astronaut_file.parent)
    assert main(["image", name]) == 1
    assert "empty name" in capsys.readouterr().err
    assert main(["image", "astronaut.png", "-o", ""]) == 1
    assert "empty name" in capsys.readouterr().err


def test_subfolders_are_counted_and_read_on_request(tmp_path, astronaut_file, capsys):
    for name in ("a.png", "b/a.png", "b/c/a.PNG", ".hidden/a.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(astronaut_file.read_bytes())
    assert main(["image", str(tmp_path / "in"), *FAST]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert err == f"left out of {tmp_path / 'in'}: 1 subfolder; --recursive reads subfolders\n"
    command = ["image", str(tmp_path / "in"), "--recursive", "-o", str(tmp_path / "out"), *FAST]
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3
    assert err == ""
    written = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*")}
    assert written == {"a.png", "b/a.png", "b/c/a.PNG"}


def test_no_face_is_left_out_of_a_file_unless_asked_for(tmp_path, astronaut_file, capsys):
    """Given a photograph of more than a hundred people."""
    face = cv2.resize(cv2.imread(str(astronaut_file)), (96, 96))
    cv2.imwrite(str(tmp_path / "crowd.png"), np.tile(face, (10, 12, 1)))
    command = ["image", str(tmp_path / "crowd.png"), "--json", "--min-face-size", "30"]
    assert main(command) == 0
    assert len(json.loads(capsys.readouterr().out)["faces"]) >= 115
    assert main([*command, "--max-faces", "7"]) == 0
    out, err = capsys.readouterr()
    assert len(json.loads(out)["faces"]) == 7
    assert err == "1 images reached --max-faces 7; some faces may be missing\n"
    assert main([*command, "--max-candidates", "20"]) == 0
    assert "1 images exceeded --max-candidates 20" in capsys.readouterr().err


def test_csv_has_a_row_a_face_that_evaluate_can_read(folder, tmp_path, capsys):
    assert main(["image", str(folder), "--csv", str(tmp_path / "x.csv"), "--json", *FAST]) == 1
    face = json.loads(capsys.readouterr().out.splitlines()[0])["faces"][0]
    with open(tmp_path / "x.csv", newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert tuple(row) == CSV_COLUMNS
    assert row["file"] == str(folder / "1 face ü.png")
    assert [float(row[name]) for name in ("xmin", "ymin", "xmax", "ymax")] == face["box"]
    assert (row["label"], float(row["score"])) == (face["label"], face["score"])


def test_coco_has_every_image_and_face(folder, tmp_path, capsys):
    assert main(["image", str(folder), "--coco", str(tmp_path / "x.json"), "--json", *FAST]) == 1
    face = json.loads(capsys.readouterr().out.splitlines()[0])["faces"][0]
    coco = json.loads((tmp_path / "x.json").read_text())
    assert [(i["id"], i["width"], i["height"]) for i in coco["images"]] == [
        (1, 256, 256),
        (2, 100, 80),
    ]
    (annotation,) = coco["annotations"]
    names = {category["id"]: category["name"] for category in coco["categories"]}
    assert names[annotation["category_id"]] == face["label"]
    xmin, ymin, xmax, ymax = face["box"]
    assert annotation["bbox"] == pytest.approx([xmin, ymin, xmax - xmin, ymax - ymin], abs=0.01)
    assert annotation["image_id"] == 1
    assert annotation["num_keypoints"] == 5
