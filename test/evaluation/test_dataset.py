# SPDX-License-Identifier: Apache-2.0
"""Reading and checking labelled photographs."""

import pytest

from mask_detector_ros.errors import SourceError
from mask_detector_ros.evaluation.dataset import LABELS, check_image, read_dataset
from mask_detector_ros.evaluation.label_files import Row

GOOD = ("a.png", 10, 10, 40, 50, "with_mask")


def kinds(dataset):
    return [(problem.file, problem.row, problem.kind) for problem in dataset.problems]


def test_a_csv_gives_each_image_its_faces(write_set):
    folder = write_set(
        GOOD, ("b.png", 0, 0, 30, 30, "without_mask"), ("a.png", 50, 0, 100, 80, LABELS[2])
    )
    first, second = read_dataset(folder).images
    assert (first.path.name, second.path.name) == ("a.png", "b.png")
    assert first.boxes.tolist() == [[10, 10, 40, 50], [50, 0, 100, 80]]
    assert first.label_ids.tolist() == [0, 2]
    assert second.label_ids.tolist() == [1]
    assert not first.is_whole_image


def test_only_the_rows_of_the_split_are_read_and_checked(write_set):
    write_set(GOOD)
    folder = write_set(("bad.png", 5, 5, 5, 5, "nonsense"), split="train")
    dataset = read_dataset(folder, "val")
    assert [image.path.name for image in dataset.images] == ["a.png"]
    assert dataset.problems == ()


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (("a.png", 10, 10, 10, 50, "with_mask"), "empty box"),
        (("a.png", 40, 10, 10, 50, "with_mask"), "empty box"),
        (("a.png", "", 10, 20, 50, "with_mask"), "empty box"),
        (("a.png", "left", 10, 20, 50, "with_mask"), "empty box"),
        (("a.png", "nan", 10, 20, 50, "with_mask"), "empty box"),
        (("a.png", 0, 0, "inf", 50, "with_mask"), "empty box"),
        (("a.png", -1, 10, 20, 50, "with_mask"), "box outside the image"),
        (("a.png", 90, 10, 101, 50, "with_mask"), "box outside the image"),
        (("a.png", 200, 200, 220, 220, "with_mask"), "box outside the image"),
        (("a.png", 10, 10, 20, 20, "helmet"), "unknown label"),
        (("a.png", 10, 10, 20, 20, ""), "unknown label"),
        (("nowhere.png", 10, 10, 20, 20, "with_mask"), "missing image"),
        (("", 10, 10, 20, 20, "with_mask"), "unreadable row"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line_and_left_out(write_set, row, kind):
    folder = write_set(GOOD, row, without_image=("nowhere.png", ""))
    dataset = read_dataset(folder)
    assert kinds(dataset) == [("labels.csv", 3, kind)]
    assert dataset.problem_counts == {kind: 1}
    assert [image.boxes.tolist() for image in dataset.images] == [[[10, 10, 40, 50]]]
    assert str(dataset.problems[0]).startswith(f"labels.csv:3: {kind}: ")


def test_every_problem_of_a_row_is_listed(write_set):
    folder = write_set(GOOD, ("a.png", 90, 10, 140, 50, "helmet"))
    assert [kind for *_, kind in kinds(read_dataset(folder))] == [
        "box outside the image",
        "unknown label",
    ]


def test_an_image_that_is_no_image_is_a_problem_of_each_of_its_rows(write_set):
    broken = ("broken.png", 1, 1, 9, 9, "with_mask")
    folder = write_set(GOOD, broken, broken)
    (folder / "images" / "broken.png").write_text("not an image")
    assert kinds(read_dataset(folder)) == [
        ("labels.csv", 3, "unreadable image"),
        ("labels.csv", 4, "unreadable image"),
    ]


def test_a_row_that_is_left_out_marks_its_place_as_neither_right_nor_wrong(write_set):
    folder = write_set(
        GOOD, ("a.png", 60, 10, 120, 50, "with_mask"), ("a.png", 0, 60, 9, 70, "helmet")
    )
    (image,) = read_dataset(folder).images
    assert image.ignored.tolist() == [[60, 10, 100, 50], [0, 60, 9, 70]]


def test_an_image_without_a_usable_row_is_left_out(write_set):
    folder = write_set(GOOD, ("b.png", 1, 1, 1, 1, "with_mask"))
    assert [image.path.name for image in read_dataset(folder).images] == ["a.png"]


@pytest.mark.parametrize(
    ("boxes", "is_whole"),
    [
        ([(0, 0, 100, 80)], True),
        ([(0, 0, 100, 72)], True),
        ([(0, 0, 100, 71)], False),
        ([(0, 0, 100, 80), (0, 0, 100, 80)], False),
    ],
)
def test_an_image_that_its_only_box_covers_by_90_percent_is_a_cut_out_face(
    tmp_path, boxes, is_whole
):
    rows = [Row("labels.csv", 2, tmp_path / "a.png", box, "with_mask") for box in boxes]
    image, problems = check_image(tmp_path / "a.png", rows, 100, 80)
    assert image.is_whole_image is is_whole
    assert problems == []


def test_pascal_voc_gives_the_same_faces_and_images_without_one(write_voc):
    folder = write_voc(
        a=[("with_mask", 10, 10, 40, 50), ("mask_weared_incorrect", 50, 0, 100, 80)], empty=[]
    )
    first, second = read_dataset(folder).images
    assert first.boxes.tolist() == [[10, 10, 40, 50], [50, 0, 100, 80]]
    assert first.label_ids.tolist() == [0, 2]
    assert (second.path.name, len(second.boxes)) == ("empty.png", 0)


def test_pascal_voc_problems_are_named_by_file_and_object(write_voc):
    folder = write_voc(a=[("with_mask", 10, 10, 40, 50), ("hat", 1, 1, 5, 5)])
    (folder / "Annotations" / "torn.xml").write_text("<annotation>")
    (folder / "Annotations" / "other.xml").write_text("<note/>")
    assert kinds(read_dataset(folder)) == [
        ("Annotations/a.xml", 2, "unknown label"),
        ("Annotations/other.xml", 0, "unreadable file"),
        ("Annotations/torn.xml", 0, "unreadable file"),
    ]


def test_a_split_of_pascal_voc_is_the_list_of_its_images(write_voc):
    folder = write_voc(a=[("with_mask", 10, 10, 40, 50)], b=[("with_mask", 10, 10, 40, 50)])
    (folder / "ImageSets" / "Main" / "val.txt").write_text("b\n")
    assert [image.path.name for image in read_dataset(folder, "val").images] == ["b.png"]


def test_of_two_formats_the_csv_is_read_and_each_xml_file_is_a_problem(write_set):
    folder = write_set(GOOD)
    (folder / "images" / "a.xml").write_text("<annotation/>")
    dataset = read_dataset(folder)
    assert kinds(dataset) == [("images/a.xml", 0, "mixed formats")]
    assert len(dataset.images) == 1


def test_any_name_will_do_for_the_only_csv(write_set):
    folder = write_set(GOOD)
    (folder / "labels.csv").rename(folder / "faces.csv")
    assert len(read_dataset(folder).images) == 1
    for name in ("other.csv", "third.csv"):
        (folder / name).write_text("")
    with pytest.raises(SourceError, match=r"several CSV files .*; call one labels.csv"):
        read_dataset(folder)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "has no column file, xmin"),
        ("file,xmin,ymin,xmax,label\n", "has no column ymax"),
        ("file,xmin,ymin,xmax,ymax,label\n", "has no rows"),
        ("file,xmin,ymin,xmax,ymax,label\na.png,1,2\n", "has no usable row (missing image: 1)"),
        (b"\xff\xfe\x00", "must be a CSV in UTF-8"),
    ],
)
def test_a_csv_that_cannot_serve_is_one_clear_error(tmp_path, content, reason):
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "labels.csv").write_bytes(data)
    with pytest.raises(SourceError) as error:
        read_dataset(tmp_path)
    assert reason in str(error.value)


def test_a_split_without_rows_names_those_that_there_are(write_set):
    write_set(GOOD)
    folder = write_set(GOOD, split="train")
    with pytest.raises(SourceError, match="no rows of split 'test'; it has train, val"):
        read_dataset(folder, "test")


def test_a_split_of_a_csv_without_splits_is_an_error(tmp_path):
    (tmp_path / "labels.csv").write_text(
        "file,xmin,ymin,xmax,ymax,label\na.png,1,2,3,4,with_mask\n"
    )
    with pytest.raises(SourceError, match="has no column split"):
        read_dataset(tmp_path, "val")


def test_a_split_of_pascal_voc_without_its_list_is_an_error(write_voc):
    with pytest.raises(SourceError, match=r"val.txt .*; it must list the images"):
        read_dataset(write_voc(a=[("with_mask", 10, 10, 40, 50)]), "val")


def test_a_missing_folder_and_one_without_labels_say_what_is_needed(tmp_path):
    with pytest.raises(SourceError, match="is not a folder"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(SourceError, match=r"no labels in .*; give a folder with labels.csv"):
        read_dataset(tmp_path)


def test_the_check_shows_how_far_it_is(write_set):
    shown = []
    folder = write_set(GOOD, ("b.png", 0, 0, 30, 30, "without_mask"))
    read_dataset(folder, progress=lambda paths: shown.append(len(paths)) or paths)
    assert shown == [2]


def test_ignore_is_a_label_without_a_face_and_no_problem(write_set):
    folder = write_set(GOOD, ("a.png", 60, 10, 90, 50, "ignore"), ("b.png", 1, 1, 20, 20, "ignore"))
    first, second = read_dataset(folder).images
    assert first.label_ids.tolist() == [0]
    assert first.ignored.tolist() == [[60, 10, 90, 50]]
    assert (len(second.boxes), second.ignored.tolist()) == (0, [[1, 1, 20, 20]])
    assert read_dataset(folder).problems == ()


def test_negatives_lie_beside_the_labels_and_follow_the_split(write_set):
    folder = write_set(GOOD)
    (folder / "negatives.csv").write_text("file,source,split\nn.png,web,val\nm.png,web,train\n")
    for name in ("n.png", "m.png"):
        (folder / "images" / name).write_bytes((folder / "images" / "a.png").read_bytes())
    images = read_dataset(folder, "val").images
    assert [(i.path.name, i.is_negative, len(i.boxes)) for i in images] == [
        ("a.png", False, 1),
        ("n.png", True, 0),
    ]


def test_a_source_is_chosen_by_name_and_negatives_stay(write_set):
    folder = write_set(GOOD)
    with (folder / "labels.csv").open("a") as file:
        file.write("a2.png,10,10,40,50,with_mask,phone,val,0\n")
    for name in ("a2.png", "n.png"):
        (folder / "images" / name).write_bytes((folder / "images" / "a.png").read_bytes())
    (folder / "negatives.csv").write_text("file,source,split\nn.png,web,val\n")
    images = read_dataset(folder, sources=["phone"]).images
    assert [(i.path.name, i.source) for i in images] == [("a2.png", "phone"), ("n.png", "web")]
    with pytest.raises(SourceError, match=r"no source radio; it has .*phone"):
        read_dataset(folder, sources=["radio"])
