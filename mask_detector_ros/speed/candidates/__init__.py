"""What runs in the candidates' own processes, each in an environment of its own.

Nothing here may import more at its top than numpy and the standard library.
"""
