# SPDX-License-Identifier: Apache-2.0
"""Speed of the detector: relative to peers, to the arithmetic floor, and by faces and pixels.

`cases.py` lists what is measured, `case_subjects.py` the subjects of each case. `timing.py`
runs them interleaved; `report.py`, `text_tables.py` and `cost_plots.py` turn the times into a
report.
"""
