# SPDX-License-Identifier: Apache-2.0
"""A separate graph for each test: real processes over real DDS."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ros_domains import reserve_domain
from waiting import wait_until

from benchmark.processes import LIMIT, Processes, happens, wait_for
from mask_detector_ros.ros.dds_environment import image_environment, profile_variable

ROOT = Path(__file__).parents[2]


class Graph(Processes):
    """Starts nodes in one domain, and a node in the test's process to communicate with them."""

    def __init__(self, folder: Path) -> None:
        self.domain, self._lock = reserve_domain()
        environment = {
            **os.environ,
            "ROS_DOMAIN_ID": str(self.domain),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "ROS_LOG_DIR": str(folder),
            **image_environment(ROOT / "config", os.environ),
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        super().__init__(folder, environment)
        self._clients: list[Client] = []

    def share_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Give the test's own process the variables that DDS reads."""
        profile = profile_variable(os.environ)
        for name in ("ROS_AUTOMATIC_DISCOVERY_RANGE", profile, "ROS_LOG_DIR"):
            monkeypatch.setenv(name, self.environment[name])

    def client(self, name: str = "client") -> Client:
        """A node in the test's own process, spinning in a thread."""
        self._clients.append(Client(name, self.domain))
        return self._clients[-1]

    def wait_for_output(self, process: subprocess.Popen[Any], text: str) -> None:
        """Wait until a process has printed a text.

        Raises:
            Lost: it did not in time.
        """
        wait_for(lambda: text in self.output(process), f"{text!r} in the output")

    def close(self) -> None:
        for client in self._clients:
            client.close()
        super().close()
        self._lock.close()


class Client:
    """An rclpy node that keeps what it receives."""

    def __init__(self, name: str, domain: int) -> None:
        import threading

        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain)
        self.node = rclpy.create_node(name, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        from rclpy.executors import ExternalShutdownException

        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()

    def listen(self, message_type: type, topic: str, qos: Any = 10) -> list[Any]:
        """Subscribe to the topic; return the list to which its messages are appended."""
        heard: list[Any] = []
        self.node.create_subscription(message_type, topic, heard.append, qos)
        return heard

    def advertise(self, message_type: type, topic: str, qos: Any = 10, readers: int = 1) -> Any:
        """Make a publisher and wait until it has this many subscriptions."""
        publisher = self.node.create_publisher(message_type, topic, qos)
        wait_until(
            lambda: publisher.get_subscription_count() >= readers, what=f"subscribers of {topic}"
        )
        return publisher

    def call(self, service_type: type, service: str, request: Any, timeout: float = LIMIT) -> Any:
        """Call a service; return its response.

        An answer is lost if the service has not yet found this client: what only asks is asked
        again, and what sets a value.
        """
        client = self.node.create_client(service_type, service)
        wait_until(client.service_is_ready, what=f"service {service}")
        patience = 5.0 if service_type.__name__.startswith(("Get", "List", "Set")) else timeout

        def answer() -> Any:
            future = client.call_async(request)
            return happens(future.done, patience) and future

        return wait_until(answer, timeout, what=f"an answer of {service}").result()

    def close(self) -> None:
        self._context.try_shutdown()
        self._thread.join(LIMIT)
