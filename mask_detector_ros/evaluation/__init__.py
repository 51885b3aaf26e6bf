# SPDX-License-Identifier: Apache-2.0
"""Accuracy of a detector and its classifiers on labelled photographs.

`dataset.py` reads and checks the labels, `run_networks.py` runs the networks, `summary.py` computes
figures with intervals from their outputs, `html_report.py` shows them.
"""
