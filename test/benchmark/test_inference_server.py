# SPDX-License-Identifier: Apache-2.0
"""The ports of the servers that a benchmark or a test starts."""

import subprocess
import sys

from benchmark.inference_server import PORT_BLOCK, free_ports


def test_a_port_is_given_once():
    """A server that is down keeps its ports for its restart."""
    ports = free_ports(PORT_BLOCK) + free_ports(3)
    assert len(set(ports)) == len(ports)


def test_two_processes_have_different_ports():
    mine = free_ports(3)
    code = f"from benchmark.inference_server import free_ports; print(*free_ports({PORT_BLOCK}))"
    theirs = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert not set(mine) & set(map(int, theirs.split()))
