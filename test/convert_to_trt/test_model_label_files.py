# SPDX-License-Identifier: Apache-2.0
"""Labels are read from the files that tools and people write."""

import pytest

from convert_to_trt.model_label_files import read_label_file
from mask_detector_ros.errors import ParameterError

LABEL_FILES = {
    "numbered": ("labels.txt", "0 With Mask\n1 Without Mask\n", ("With Mask", "Without Mask")),
    "plain": ("labels.txt", "face\nmask\n\n", ("face", "mask")),
    "with a mark": ("labels.txt", "\ufeffmask\r\nno mask\r\n", ("mask", "no mask")),
    "one number": ("labels.txt", "0 Mask\nother\n", ("0 Mask", "other")),
    "numbered from behind": ("labels.txt", "1 No Mask\n0 Mask\n", ("Mask", "No Mask")),
    "numbers with marks": ("labels.txt", "0: mask\n1: no mask\n", ("mask", "no mask")),
    "numbers and tabs": ("labels.txt", "0\tmask\n1\tno mask\n", ("mask", "no mask")),
    "numbers and commas": ("labels.csv", "0,mask\n1,no mask\n", ("mask", "no mask")),
    "quotes": ("labels.txt", "\"mask\"\n'no mask'\n", ("mask", "no mask")),
    "one line": ("labels.txt", "mask, no mask\n", ("mask", "no mask")),
    "a list in a text": ("labels.txt", "['mask', 'no mask']\n", ("mask", "no mask")),
    "JSON in a text": ("labels.txt", '{\n"0": "mask", \n"1": "no mask"\n}', ("mask", "no mask")),
    "numbers from 1": ("labels.txt", "1 mask\n2 no mask\n", ("mask", "no mask")),
    "numbers behind": ("labels.txt", "no mask 1\nmask 0\n", ("mask", "no mask")),
    "a heading": ("labels.csv", "id,label\n0,mask\n1,no mask\n", ("mask", "no mask")),
    "a comment": ("labels.txt", "# mine\nmask\nno mask\n", ("mask", "no mask")),
    "numbers in the names": ("labels.txt", "Class 1\nClass 2\n", ("Class 1", "Class 2")),
    "numbers as names": ("labels.txt", "10\n20\n", ("10", "20")),
    "YAML": ("metadata.yaml", "names:\n  1: no mask\n  0: mask\n", ("mask", "no mask")),
    "a YAML list": ("data.yaml", "nc: 2\nnames: [mask, no mask]\n", ("mask", "no mask")),
    "list": ("names.json", '["a", "b"]', ("a", "b")),
    "class indices": ("names.json", '{"b": 1, "a": 0}', ("a", "b")),
    "by number": ("names.json", '{"10": "k", "9": "j"}', ("j", "k")),
    "Teachable Machine": ("metadata.json", '{"labels": ["a", "b"]}', ("a", "b")),
}


@pytest.mark.parametrize(("name", "text", "labels"), LABEL_FILES.values(), ids=LABEL_FILES)
def test_labels_are_read_from_each_form(tmp_path, name, text, labels):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert read_label_file(path) == labels


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *[("labels.txt", text) for text in (b"", b"one\n", b"a\na\n", b"\xff\xfe\0")],
        *[("labels.json", text) for text in (b"{", b"3", b'{"a": [1]}')],
    ],
)
def test_a_file_without_labels_is_an_error(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ParameterError, match=name.replace(".", r"\.")):
        read_label_file(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_labels_are_read_in_the_encodings_of_editors(tmp_path, encoding):
    path = tmp_path / "labels.txt"
    path.write_bytes("con máscara\r\nsin máscara\r\n".encode(encoding))
    assert read_label_file(path) == ("con máscara", "sin máscara")


def test_deeply_nested_json_is_one_error(tmp_path):
    path = tmp_path / "labels.json"
    path.write_text("[" * 100_000)
    with pytest.raises(ParameterError, match="nested too deeply"):
        read_label_file(path)
