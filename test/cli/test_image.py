# SPDX-License-Identifier: Apache-2.0
"""`mask-detector image`."""

import csv
import json
import os
import resource
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest

from mask_detector_ros.cli import main
from mask_detector_ros.cli.results import CSV_COLUMNS

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
    """Latin-1, as old archives and cameras write it."""
    strange = os.fsencode(tmp_path) + b"/M\xe4rz.png"
    with open(strange, "wb") as file:
        file.write(astronaut_file.read_bytes())
    done = run(os.fsdecode(strange))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{tmp_path}/M\\udce4rz.png: 1 ")
    record = json.loads(run(os.fsdecode(strange), "--json").stdout)
    assert record["file"].encode().decode() == f"{tmp_path}/März.png"
    assert record["file_uri"] == f"file://{tmp_path}/M%E4rz.png"
    again = json.loads(run(record["file_uri"], "--json").stdout)
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
    done = run(tmp_path / "nothing.png")
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


def hard_link(source, target):
    os.link(source, target)


def symbolic_link(source, target):
    target.symlink_to(source)


@pytest.mark.parametrize("link", [hard_link, symbolic_link])
@pytest.mark.parametrize("options", [(), ("--overwrite",)])
def test_an_input_reached_by_another_name_is_never_replaced(
    link, options, tmp_path, astronaut_file, capsys
):
    (tmp_path / "a.png").write_bytes(astronaut_file.read_bytes())
    (tmp_path / "out").mkdir()
    link(tmp_path / "a.png", tmp_path / "out" / "a.png")
    name = f"file://{tmp_path}/a.png"
    assert main(["image", name, "-o", str(tmp_path / "out"), *options]) == 2
    assert "is an input and would be overwritten" in capsys.readouterr().err
    assert (tmp_path / "a.png").read_bytes() == astronaut_file.read_bytes()


def test_an_input_is_not_replaced_by_way_of_a_folder_that_is_not_there_yet(folder, capsys):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for output in (folder / "new" / "..", folder / "new" / ".." / "."):
        assert main(["image", str(folder), "-o", str(output), "--overwrite"]) == 2
        assert "would be overwritten" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_an_existing_file_is_replaced_only_on_request(tmp_path, astronaut_file, capsys):
    (tmp_path / "astronaut.png").write_bytes(b"something else")
    command = ["image", str(astronaut_file), "-o", str(tmp_path), *FAST]
    assert main(command) == 2
    assert "exists; give another folder with -o, or --overwrite" in capsys.readouterr().err
    assert (tmp_path / "astronaut.png").read_bytes() == b"something else"
    assert main([*command, "--overwrite"]) == 0
    assert cv2.imread(str(tmp_path / "astronaut.png")).shape == (256, 256, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["astronaut.png"]


@pytest.mark.parametrize("dangling", [True, False])
def test_a_link_in_the_output_folder_is_never_followed(dangling, tmp_path, astronaut_file):
    outside, folder = tmp_path / "outside.png", tmp_path / "out"
    folder.mkdir()
    if not dangling:
        outside.write_bytes(b"not ours")
    (folder / "astronaut.png").symlink_to(outside)
    assert main(["image", str(astronaut_file), "-o", str(folder), *FAST]) == 2
    assert main(["image", str(astronaut_file), "-o", str(folder), "--overwrite", *FAST]) == 0
    assert not (folder / "astronaut.png").is_symlink()
    assert outside.exists() is not dangling
    if not dangling:
        assert outside.read_bytes() == b"not ours"


@pytest.mark.parametrize("option", ["--csv", "--coco"])
def test_results_replace_no_input_and_no_other_file(option, tmp_path, astronaut_file, capsys):
    (tmp_path / "a.png").write_bytes(astronaut_file.read_bytes())
    (tmp_path / "notes").write_bytes(b"notes")
    for name in ("a.png", "notes"):
        before = (tmp_path / name).read_bytes()
        assert main(["image", str(tmp_path / "a.png"), option, str(tmp_path / name)]) == 2
        assert f"give another name with {option}" in capsys.readouterr().err
        assert (tmp_path / name).read_bytes() == before


def limit_files():
    """Of more than 2 kB nothing is written, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))


def test_on_a_full_disk_nothing_half_is_left(tmp_path, astronaut_file):
    command = [sys.executable, "-m", "mask_detector_ros", "image", str(astronaut_file), *FAST]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "out")],
        preexec_fn=limit_files,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first.startswith(f"error: cannot write {tmp_path / 'out' / 'astronaut.png'} (")
    assert second == "error: 1 of 1 images failed"
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_full_standard_output_is_one_line(options, astronaut_file):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "mask_detector_ros", "image", astronaut_file, *options, *FAST],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot write the output (No space left on device)")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_is_one_line(name, capsys, tmp_path, monkeypatch, astronaut_file):
    """The path of an empty name would be the current folder."""
    monkeypatch.chdir(astronaut_file.parent)
    assert main(["image", name]) == 1
    assert "empty name" in capsys.readouterr().err
    assert main(["image", "astronaut.png", "-o", ""]) == 1
    assert "empty name" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a:b.png", "50%d.png", "-x.png", "~nobody.png", "?q#f.png"])
def test_any_file_name_is_read_and_written(name, tmp_path, monkeypatch, astronaut_file):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(astronaut_file.read_bytes())
    assert main(["image", "-o", "out", *FAST, "--", name]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]


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
    """A photograph of more than a hundred people."""
    face = cv2.resize(cv2.imread(str(astronaut_file)), (96, 96))
    cv2.imwrite(str(tmp_path / "crowd.png"), np.tile(face, (10, 12, 1)))
    command = ["image", str(tmp_path / "crowd.png"), "--json", "--min-face-size", "30"]
    assert main(command) == 0
    assert len(json.loads(capsys.readouterr().out)["faces"]) >= 115
    assert main([*command, "--max-faces", "7"]) == 0
    out, err = capsys.readouterr()
    assert len(json.loads(out)["faces"]) == 7
    assert err == "1 images reached --max-faces 7; faces may be left out\n"
    assert main([*command, "--max-candidates", "20"]) == 0
    assert "1 images had more than --max-candidates 20" in capsys.readouterr().err


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
