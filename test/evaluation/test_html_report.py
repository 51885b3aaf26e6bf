# SPDX-License-Identifier: Apache-2.0
"""Tables, plots, thumbnails and the page that contains them."""

import base64
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import cv2
import numpy as np
import pytest

from mask_detector_ros.evaluation.contact_sheet import (
    THUMBNAIL_SIDE,
    WrongFace,
    thumbnail,
    worst_errors,
)
from mask_detector_ros.evaluation.html_report import build_report
from mask_detector_ros.evaluation.label_files import Problem
from mask_detector_ros.evaluation.plots import draw_plots
from mask_detector_ros.evaluation.report_tables import (
    Table,
    confusion_tables,
    full_tables,
    short_tables,
)
from mask_detector_ros.evaluation.summary import summarise

pytest.importorskip("matplotlib")


@pytest.fixture
def summary(predictions):
    return summarise(predictions, rounds=20)


def test_the_worst_errors_are_what_was_missed_falsely_found_and_mislabelled(predictions):
    missed, false, mislabelled = worst_errors(predictions).values()
    assert [error.caption for error in missed] == [
        "mask worn incorrectly, 100 px, best overlap 0.04",
        "with mask, 20 px, best overlap 0.00",
    ]
    assert [(error.path.name, error.caption) for error in false] == [("b.png", "score 0.800")]
    assert [error.caption for error in mislabelled] == ["without mask, taken for with mask 0.800"]


def test_a_thumbnail_shows_the_box_in_the_middle_of_its_surroundings(predictions):
    error = WrongFace(predictions.paths[0], np.array([80, 80, 120, 120], np.float32), "")
    image = cv2.imdecode(np.frombuffer(thumbnail(error), np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3)
    greenness = image[..., 1].astype(int) - image[..., 2]
    rows, columns = np.nonzero(greenness > 60)
    assert abs(rows.mean() - THUMBNAIL_SIDE / 2) < 2
    assert abs(np.ptp(columns) - THUMBNAIL_SIDE / 2) < 4


@pytest.mark.slow
def test_every_plot_is_an_svg_picture(predictions, summary):
    plots = draw_plots(predictions, summary)
    assert len(plots) == 6
    for svg in plots.values():
        assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"


def test_plots_are_drawn_where_there_is_nothing_to_show(predictions):
    nothing = replace(
        predictions,
        for_detection=np.zeros(5, bool),
        matches=np.full(4, -1),
        truth_labels=np.zeros(5, int),
    )
    assert len(draw_plots(nothing, summarise(nothing, rounds=5))) == 6


@pytest.mark.slow
def test_the_page_holds_all_its_pictures_and_links_to_nothing(predictions, summary):
    tables = [*full_tables(summary), *confusion_tables(summary)]
    errors = worst_errors(predictions)
    page = build_report(
        "A <title>",
        ["a & b"],
        tables,
        draw_plots(predictions, summary),
        errors,
        (Problem("labels.csv", 3, "empty box", "<nothing>"),),
    )
    pictures = re.findall(r'src="([^"]+)"', page)
    assert len(pictures) == 6 + sum(map(len, errors.values()))
    assert all(picture.startswith("data:image/") for picture in pictures)
    assert all(base64.b64decode(picture.split(",")[1]) for picture in pictures)
    assert "href" not in page
    assert "A &lt;title&gt;" in page
    assert "labels.csv:3: empty box: &lt;nothing&gt;" in page
    assert all(table.title in page for table in tables)


def test_a_table_of_text_is_aligned():
    table = Table("Title", ("name", "value"), [("a long name", "1"), ("b", "22")])
    assert table.to_text().splitlines() == [
        "Title",
        "name         value",
        "a long name      1",
        "b               22",
    ]


def test_the_short_tables_have_one_line_a_model_and_the_full_ones_a_line_a_size(summary):
    assert [len(table.rows) for table in short_tables(summary)] == [9, 4, 1, 1]
    assert [len(table.rows) for table in full_tables(summary)] == [24, 4, 6, 6]
