# SPDX-License-Identifier: Apache-2.0
"""One server, several robots, and everything that happens to the two: `make fleet-check`."""
