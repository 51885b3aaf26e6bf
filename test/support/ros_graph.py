"""A graph of its own for each test: real processes over real DDS."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from waiting import TIMEOUT, wait_until

ROOT = Path(__file__).parents[2]
_domains = itertools.count()


class Graph:
    """Starts nodes in one domain, and a node of the test's own to talk to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Domains above 101 collide with ports that Linux hands out to clients.
        self.domain = 1 + (os.getpid() * 7 + next(_domains)) % 100
        self.environment = {
            **os.environ,
            "ROS_DOMAIN_ID": str(self.domain),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "ROS_LOG_DIR": str(folder),
            "FASTDDS_DEFAULT_PROFILES_FILE": str(ROOT / "config" / "shared_memory.xml"),
            "PYTHONUNBUFFERED": "1",
        }
        self.processes: list[subprocess.Popen[str]] = []
        self._contexts: list[Any] = []

    def start(self, module: str, *arguments: str, **parameters: Any) -> subprocess.Popen[str]:
        """Run a module of the package, or a script, as a process; its output goes to a file."""
        what = [module] if module.endswith(".py") else ["-m", f"mask_detector_ros.ros.{module}"]
        command = [sys.executable, *what, "--ros-args"]
        command += list(arguments)
        for name, value in parameters.items():
            text = str(value).lower() if isinstance(value, bool) else value
            command += ["-p", f"{name}:={text}"]
        log = (self.folder / f"process{len(self.processes)}.log").open("w+", encoding="utf-8")
        process = subprocess.Popen(
            command, env=self.environment, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, text=True
        )
        process.log = log.name  # type: ignore[attr-defined]
        self.processes.append(process)
        return process

    def output(self, process: subprocess.Popen[str]) -> str:
        """What the process has printed so far."""
        return Path(process.log).read_text(encoding="utf-8")  # type: ignore[attr-defined,no-any-return]

    def wait_for_output(self, process: subprocess.Popen[str], text: str) -> None:
        wait_until(lambda: text in self.output(process), what=f"{text!r} in the output")

    def stop(self, process: subprocess.Popen[str], how: signal.Signals = signal.SIGINT) -> int:
        process.send_signal(how)
        return process.wait(TIMEOUT)

    def client(self, name: str = "client") -> Any:
        """A node in the test's own process, spinning in a thread."""
        client = Client(name, self.domain)
        self._contexts.append(client)
        return client

    def close(self) -> None:
        for client in self._contexts:
            client.close()
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        for process in self.processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Client:
    """An rclpy node that keeps what it hears."""

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
        """The list that messages of the topic are appended to from now on."""
        heard: list[Any] = []
        self.node.create_subscription(message_type, topic, heard.append, qos)
        return heard

    def advertise(self, message_type: type, topic: str, qos: Any = 10, readers: int = 1) -> Any:
        """A publisher, once it has found so many subscriptions."""
        publisher = self.node.create_publisher(message_type, topic, qos)
        wait_until(
            lambda: publisher.get_subscription_count() >= readers, what=f"subscribers of {topic}"
        )
        return publisher

    def call(self, service_type: type, service: str, request: Any, timeout: float = TIMEOUT) -> Any:
        """The response of a service."""
        client = self.node.create_client(service_type, service)
        wait_until(client.service_is_ready, what=f"service {service}")
        future = client.call_async(request)
        wait_until(future.done, timeout, what=f"an answer of {service}")
        return future.result()

    def close(self) -> None:
        self._context.try_shutdown()
        self._thread.join(TIMEOUT)
