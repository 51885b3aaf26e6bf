"""How fast the detector is: against others in turns, against the arithmetic, and against size.

`cases.py` says what is measured, `candidates.py` who takes part, `timings.py` runs them in turns,
`report.py` and `plots.py` make of the times what a reader wants to know.
"""
