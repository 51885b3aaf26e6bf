# SPDX-License-Identifier: Apache-2.0
"""The page that can be published: figures without photographs."""

from mask_detector_ros.evaluation.markdown_report import build_markdown, table_markdown
from mask_detector_ros.evaluation.report_tables import Table

TABLE = Table("Recall | at 0.5", ("faces", "recall"), [("mask_worn", "0.9 [0.8, 1.0]")])


def test_a_table_has_a_title_a_header_and_rows_of_cells():
    assert table_markdown(TABLE).splitlines() == [
        r"**Recall \| at 0.5**",
        "",
        "| faces | recall |",
        "| --- | ---: |",
        r"| mask\_worn | 0.9 [0.8, 1.0] |",
    ]


def test_a_page_has_facts_tables_plots_and_how_to_read_them():
    page = build_markdown("Accuracy", ["data: *faces*"], [TABLE], ["plots/recall.svg"])
    assert page.startswith("# Accuracy\n\n- data: \\*faces\\*\n")
    assert "![plots/recall.svg](plots/recall.svg)" in page
    assert "bootstrap" in page.split("How to read this")[1]
