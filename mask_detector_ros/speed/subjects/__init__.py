# SPDX-License-Identifier: Apache-2.0
"""Code that runs in the subjects' processes, each in a separate environment.

Modules here import only numpy and the standard library at module level.
"""
