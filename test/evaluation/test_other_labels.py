# SPDX-License-Identifier: Apache-2.0
"""Labels in COCO and YOLO format give the same faces as a CSV."""

import json

import cv2
import numpy as np
import pytest

from mask_detector_ros.errors import SourceError
from mask_detector_ros.evaluation.dataset import read_dataset

NAMES = ["with_mask", "without_mask", "mask_worn_incorrectly", "ignore"]
BOXES = {"a": [(10, 20, 30, 50, 0), (40, 10, 60, 40, 1)], "b": [(0, 0, 20, 20, 2)], "c": []}
WIDTH, HEIGHT = 80, 60


def save_images(folder, names="abc"):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        cv2.imwrite(str(folder / f"{name}.png"), np.zeros((HEIGHT, WIDTH, 3), np.uint8))


def coco(boxes=None, prefix=""):
    boxes = BOXES if boxes is None else boxes
    annotations = [
        {"image_id": number, "category_id": kind + 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}
        for number, rows in enumerate(boxes.values())
        for x1, y1, x2, y2, kind in rows
    ]
    return {
        "images": [{"id": n, "file_name": f"{prefix}{k}.png"} for n, k in enumerate(boxes)],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in enumerate(NAMES, 1)],
    }


def yolo_lines(rows):
    for x1, y1, x2, y2, kind in rows:
        centre = ((x1 + x2) / 2 / WIDTH, (y1 + y2) / 2 / HEIGHT)
        size = ((x2 - x1) / WIDTH, (y2 - y1) / HEIGHT)
        yield " ".join([str(kind), *(f"{value:.6f}" for value in (*centre, *size))])


def save_yolo(images, labels, boxes=None):
    boxes = BOXES if boxes is None else boxes
    save_images(images, boxes)
    labels.mkdir(parents=True, exist_ok=True)
    for name, rows in boxes.items():
        (labels / f"{name}.txt").write_text("\n".join(yolo_lines(rows)))


def check(dataset):
    assert dataset.problems == ()
    found = {image.path.stem: image for image in dataset.images}
    assert set(found) == set(BOXES)
    for name, rows in BOXES.items():
        np.testing.assert_allclose(
            found[name].boxes, np.float32([row[:4] for row in rows]).reshape(-1, 4), atol=1e-3
        )
        assert found[name].label_ids.tolist() == [row[4] for row in rows]


@pytest.mark.parametrize(
    ("file", "images"),
    [
        ("labels.json", "."),
        ("annotations/instances_val2017.json", "images"),
        ("annotations/instances_val2017.json", "val2017"),
        ("val2017/_annotations.coco.json", "val2017"),
    ],
)
def test_coco_is_read_from_where_its_tools_put_it(file, images, tmp_path):
    save_images(tmp_path / images)
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(json.dumps(coco()))
    (tmp_path / "report.json").write_text("{}")
    if "annotations/" not in file or images == "images":
        check(read_dataset(tmp_path))
    if "val2017" in file:
        check(read_dataset(tmp_path, "val2017"))
        with pytest.raises(SourceError, match="no COCO file of split 'test'"):
            read_dataset(tmp_path, "test")


def test_a_crowd_of_coco_and_the_label_ignore_are_neither_right_nor_wrong(tmp_path):
    save_images(tmp_path)
    content = coco()
    content["annotations"].append(
        {"image_id": 0, "category_id": 1, "bbox": [0, 0, 9, 9], "iscrowd": 1}
    )
    content["annotations"].append({"image_id": 1, "category_id": 4, "bbox": [30, 0, 9, 9]})
    (tmp_path / "labels.json").write_text(json.dumps(content))
    dataset = read_dataset(tmp_path)
    check(dataset)
    ignored = {image.path.stem: image.ignored.tolist() for image in dataset.images}
    assert ignored == {"a": [[0, 0, 9, 9]], "b": [[30, 0, 39, 9]], "c": []}


def test_what_is_wrong_in_coco_is_listed(tmp_path):
    save_images(tmp_path)
    content = coco()
    content["annotations"] += [
        {"image_id": 99, "category_id": 1, "bbox": [0, 0, 9, 9]},
        {"image_id": 0, "category_id": 1, "bbox": "none"},
        {"image_id": 0, "category_id": 77, "bbox": [0, 0, 9, 9]},
        {"image_id": 0, "category_id": 1, "bbox": [70, 0, 30, 9]},
    ]
    (tmp_path / "labels.json").write_text(json.dumps(content))
    kinds = read_dataset(tmp_path).problem_counts
    assert kinds == {
        "unreadable row": 1,
        "empty box": 1,
        "unknown label": 1,
        "box outside the image": 1,
    }


@pytest.mark.parametrize("layout", ["ultralytics", "roboflow", "labelimg"])
def test_yolo_is_read_from_where_its_tools_put_it(layout, tmp_path):
    if layout == "ultralytics":
        save_yolo(tmp_path / "images" / "val", tmp_path / "labels" / "val")
        (tmp_path / "data.yaml").write_text(f"names: {dict(enumerate(NAMES))}\nval: images/val\n")
    elif layout == "roboflow":
        save_yolo(tmp_path / "val" / "images", tmp_path / "val" / "labels")
        (tmp_path / "data.yaml").write_text(f"names: {NAMES}\nval: ../val/images\n")
    else:
        save_yolo(tmp_path, tmp_path)
        (tmp_path / "classes.txt").write_text("\n".join(NAMES))
    check(read_dataset(tmp_path))
    if layout != "labelimg":
        check(read_dataset(tmp_path, "val"))
        with pytest.raises(SourceError, match="no image of split 'test'"):
            read_dataset(tmp_path, "test")


def test_yolo_takes_confidences_polygons_and_boxes_rounded_over_the_edge(tmp_path):
    save_yolo(tmp_path, tmp_path, {"a": [(0, 0, 80, 30, 0)]})
    (tmp_path / "classes.txt").write_text("\n".join(NAMES))
    (tmp_path / "a.txt").write_text(
        "0 0.500001 0.25 1.0 0.5 0.87\n1 0.25 0.5 0.5 0.5 0.5 1.0 0.25 1.0\n3 0.1 0.1 0.1 0.1\n"
    )
    (image,) = read_dataset(tmp_path).images
    np.testing.assert_allclose(image.boxes, [[0, 0, 80, 30], [20, 30, 40, 60]], atol=1e-3)
    np.testing.assert_allclose(image.ignored, [[4, 3, 12, 9]], atol=1e-3)


def test_what_is_wrong_in_yolo_is_listed(tmp_path):
    save_yolo(tmp_path, tmp_path)
    (tmp_path / "classes.txt").write_text("\n".join(NAMES))
    (tmp_path / "a.txt").write_text(
        "0 0.5 0.5\nface 0.5 0.5 0.1 0.1\n9 0.5 0.5 0.1 0.1\n0 1 1 1 1\n"
    )
    dataset = read_dataset(tmp_path)
    assert dataset.problem_counts == {
        "unreadable row": 2,
        "unknown label": 1,
        "box outside the image": 1,
    }


def test_data_without_names_says_so(tmp_path):
    save_images(tmp_path)
    (tmp_path / "data.yaml").write_text("train: images\n")
    with pytest.raises(SourceError, match="has no list `names`"):
        read_dataset(tmp_path)


def test_what_image_writes_can_be_evaluated(tmp_path, astronaut_file):
    from mask_detector_ros.cli import main

    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(astronaut_file.read_bytes())
    command = ["image", str(tmp_path / "images"), "--min-face-size", "60"]
    assert main([*command, "--coco", str(tmp_path / "labels.json")]) == 0
    (image,) = read_dataset(tmp_path).images
    assert len(image.boxes) == 1
