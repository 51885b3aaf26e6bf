# SPDX-License-Identifier: Apache-2.0
"""Where `mask-detector image` writes: it never replaces an input, or another file without being
asked."""

import os

import cv2
import pytest
from command_line import FAST, limit_files, run

from mask_detector_ros.cli import main


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


def test_on_a_full_disk_nothing_half_is_left(tmp_path, astronaut_file):
    done = run("image", astronaut_file, "-o", tmp_path / "out", preexec_fn=limit_files(2_000))
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first.startswith(f"error: cannot write {tmp_path / 'out' / 'astronaut.png'} (")
    assert second == "error: 1 of 1 images failed"
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_full_standard_output_is_one_line(options, astronaut_file):
    with open("/dev/full", "w") as full:
        done = run("image", astronaut_file, *options, stdout=full)
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot write the output (No space left on device)")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["a:b.png", "50%d.png", "-x.png", "~nobody.png", "?q#f.png"])
def test_any_file_name_is_read_and_written(name, tmp_path, monkeypatch, astronaut_file):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(astronaut_file.read_bytes())
    assert main(["image", "-o", "out", *FAST, "--", name]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]


@pytest.mark.parametrize(
    "options",
    [
        ["--csv", "x", "--coco", "x"],
        ["--csv", "out/astronaut.png", "-o", "out"],
        ["--csv", "link/x", "--coco", "out/x"],
    ],
)
def test_two_outputs_of_one_name_are_wrong_use(
    options, tmp_path, astronaut_file, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("out")
    (tmp_path / "astronaut.png").write_bytes(astronaut_file.read_bytes())
    assert main(["image", "astronaut.png", *options, *FAST]) == 2
    assert "two outputs are" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


def test_a_dash_is_no_file_name(astronaut_file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["image", str(astronaut_file), "--csv", "-", *FAST]) == 2
    assert "write /dev/stdout" in capsys.readouterr().err
    assert not (tmp_path / "-").exists()
