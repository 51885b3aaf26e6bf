"""How accurate a detector and its classifiers are, measured on labelled photographs.

`dataset.py` reads and checks the labels, `observe.py` runs the networks, `summary.py` turns
what they said into figures with intervals, `html_report.py` shows them.
"""
