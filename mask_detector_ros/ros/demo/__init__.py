# SPDX-License-Identifier: Apache-2.0
"""`make demo`: camera node, detector node and recorder as processes, and a report."""
