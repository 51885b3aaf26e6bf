# SPDX-License-Identifier: Apache-2.0
"""The scenarios of the fleet check: what happens to server and robots, and what must hold."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import cv2
import numpy as np

from benchmark.fleet.robot_processes import SERVER, Figures, Robots, measure
from benchmark.fleet.simulated_robot import sample_frames
from benchmark.fleet.slow_network import Proxy, find_obstacle, namespace
from benchmark.inference_server import InferenceServer
from benchmark.processes import Lost, ProcessStatus, wait_for
from mask_detector_ros.detector import MaskDetector
from mask_detector_ros.errors import MaskDetectorError

MAX_GAP = 0.5
"""Seconds that a robot may be without results when its server fails."""

MAX_OVERHEAD = 0.006
"""Seconds of the median that the way to the server and back may take on one machine."""

MAX_REJECTION = 0.020
"""Seconds after which an overloaded server has rejected a frame, in the median."""

RETURN_LIMIT = 30.0
"""Seconds in which all robots must have gone back to a server that answers again."""

DELAY, LOSS = 0.05, 0.02
"""Delay of the slow network in seconds each way, and fraction of lost packets."""


@dataclass
class Row:
    """The result of one fleet scenario, as a line of the table.

    Attributes:
        name: name of the event.
        figures: statistics of the robots during it; None without robots.
        cpu: processor seconds a second of the server and of a robot.
        remark: other observations.
        faults: violated expectations.
    """

    name: str
    figures: Figures | None = None
    cpu: tuple[float, float] | None = None
    remark: str = ""
    faults: list[str] = field(default_factory=list)

    def require(self, holds: bool, words: str) -> None:
        """Add a fault to the scenario's row unless the condition holds."""
        if not holds:
            self.faults.append(words)


@dataclass(frozen=True)
class Load:
    """The load of a scenario: number of robots, frames per second of each, and seconds of a
    period."""

    robots: int
    rate: float
    seconds: float


def compare_with_local(load: Load) -> Iterator[Row]:
    """Scenario of the fleet check: process the same frames here and through the server; compare
    results, time and bytes."""
    frames = sample_frames()
    with InferenceServer() as server:
        local = MaskDetector.load(threads=1)
        options = {"backend": SERVER, "server_url": server.address, "server_deadline": 5.0}
        raw = MaskDetector.load(**options, server_image_format="raw")
        jpeg = MaskDetector.load(**options, server_image_format="jpeg")
        with raw, jpeg:
            row = Row("same frames")
            largest = max(_difference(local(f), raw(f)) for f in frames)
            row.require(largest < 1e-3, f"results differ by {largest:g} from local ones")
            rounds = [[_median_time(d, frames) for d in (local, raw, jpeg)] for _ in range(5)]
            here, far, coded = np.median(rounds, axis=0) * 1e3
            # Another program's work only adds to the time.
            overhead = min(far - here for here, far, _ in rounds)
            row.require(
                overhead <= MAX_OVERHEAD,
                f"the server takes {overhead * 1e3:.1f} ms more than this process",
            )
            row.remark = f"p50 here {here:.1f} ms, server {far:.1f}, as JPEG {coded:.1f}"
            yield row
            sizes = [
                len(cv2.imencode(".jpg", f, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]) for f in frames
            ]
            same = [len(local(f)) == len(jpeg(f)) for f in frames]
            yield Row(
                "raw or JPEG",
                remark=f"{frames[0].nbytes / 1e3:.0f} or {np.mean(sizes) / 1e3:.0f} kB a frame;"
                f" as many faces in {sum(same)} of {len(same)} frames",
            )


def _difference(ours: object, theirs: object) -> float:
    pairs = [
        (getattr(ours, n), getattr(theirs, n))
        for n in ("boxes", "scores", "landmarks", "probabilities")
    ]
    if any(a.shape != b.shape for a, b in pairs):
        return float("inf")
    return max((float(np.abs(a - b).max()) for a, b in pairs if a.size), default=0.0)


def _median_time(detector: MaskDetector, frames: list[np.ndarray]) -> float:
    times = []
    for frame in frames:
        start = time.perf_counter()
        detector(frame)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def faults_of_the_server(load: Load) -> Iterator[Row]:
    """Scenario of the fleet check: kill, stop and restart the server under the same robots, and
    change its weights."""
    with InferenceServer() as server:
        parameters = {"backend": "auto", "server_url": server.address}
        with Robots(load.robots, load.rate, **parameters) as robots:
            robots.wait_until_ready()
            wait_for(lambda: robots.all_from(SERVER, 0), "all robots to use the server")
            yield _steady(server, robots, load)
            with _fault("server killed", robots, load) as row:
                server.kill()
            yield row
            with _return("server restarted", robots) as row:
                server.start()
            yield row
            with _fault("server stopped", robots, load) as row:
                server.signal(signal.SIGSTOP, server.processes()[1:2])
            yield row
            with _return("server goes on", robots) as row:
                server.signal(signal.SIGCONT)
            yield row
            server.kill()
            server.start("--detector-model", "mtcnn_masked")
            with _fault("other weights", robots, load) as row:
                pass
            row.require(row.figures is not None and row.figures.served == 0, "robots took it")
            yield row


def _steady(server: InferenceServer, robots: Robots, load: Load) -> Row:
    row, figures = _work("steady", server, robots, load)
    row.require(figures.rate >= 0.8 * load.robots * load.rate, "robots get too few results")
    row.require(figures.served >= 0.9, f"only {figures.served:.0%} came from the server")
    row.require(figures.fairness >= 0.9, "the server is unfair")
    return row


def _work(name: str, server: InferenceServer, robots: Robots, load: Load) -> tuple[Row, Figures]:
    """Let the robots work for a period, and measure them and the processors."""
    start, before = time.monotonic(), _cpu(server, robots)
    time.sleep(load.seconds)
    used, passed = np.subtract(_cpu(server, robots), before), time.monotonic() - start
    figures = measure(robots, start)
    return Row(name, figures, tuple(used / passed)), figures


def _cpu(server: InferenceServer, robots: Robots) -> tuple[float, float]:
    served, robot = (
        [ProcessStatus(pid).cpu_seconds() for pid in pids]
        for pids in (server.processes(), robots.pids)
    )
    return sum(served), sum(robot) / len(robot)


@contextmanager
def _fault(name: str, robots: Robots, load: Load) -> Iterator[Row]:
    """What happens in the block must not keep a robot from its results."""
    row = Row(name)
    start = time.monotonic()
    yield row
    time.sleep(load.seconds / 2)
    _require_no_gap(row, measure(robots, start))


@contextmanager
def _return(name: str, robots: Robots) -> Iterator[Row]:
    """After the block all robots must go back to the server."""
    row = Row(name)
    start = time.monotonic()
    yield row
    ready = time.monotonic()
    try:
        wait_for(lambda: robots.all_from(SERVER, ready), "the robots' return", RETURN_LIMIT)
        row.remark = f"all back after {time.monotonic() - ready:.1f} s"
    except Lost:
        row.faults.append(f"a robot was not back after {RETURN_LIMIT:.0f} s")
    _require_no_gap(row, measure(robots, start))


def _require_no_gap(row: Row, figures: Figures) -> None:
    row.figures = figures
    row.require(figures.gap <= MAX_GAP, f"a robot saw nothing for {figures.gap:.2f} s")


def wrong_models(load: Load) -> Iterator[Row]:
    """Scenario of the fleet check: an explicit choice of a wrong model fails at once, and the
    message names the right ones."""
    with InferenceServer("--instances", "1") as server:
        for name, parameters, words in (
            ("wrong model", {"server_model": "faces"}, "mask_detector:1"),
            ("wrong version", {"server_model": "mask_detector:7"}, "mask_detector:1"),
            ("other labels", {"detector_model": "mtcnn_masked"}, "sha256"),
        ):
            row = Row(name)
            start = time.monotonic()
            try:
                MaskDetector.load(backend=SERVER, server_url=server.address, **parameters).close()
                row.faults.append("was accepted")
            except MaskDetectorError as error:
                row.remark = f"rejected after {(time.monotonic() - start) * 1e3:.0f} ms"
                row.require(words in str(error), f"the message lacks {words}: {error}")
            yield row


def overload(load: Load) -> Iterator[Row]:
    """Scenario of the fleet check: robots request several times the frame rate that one instance
    can process."""
    with InferenceServer("--instances", "1") as server:
        options = {"backend": SERVER, "server_url": server.address, "server_deadline": 2.0}
        with Robots(2 * load.robots, 8 * load.rate, **options) as robots:
            robots.wait_until_ready()
            row, figures = _work("overload", server, robots, load)
            row.require(figures.failed > 0, "no frame was rejected: is this an overload?")
            row.require(
                figures.failure_time <= MAX_REJECTION,
                f"a rejection takes {figures.failure_time * 1e3:.0f} ms",
            )
            row.require(figures.p99 <= 0.5, "frames wait in the queue")
            row.remark = f"{figures.failed:.0%} rejected, in {figures.failure_time * 1e3:.1f} ms"
            yield row


def slow_network(load: Load) -> Iterator[Row]:
    """Scenario of the fleet check: robots behind a slow network keep getting results, from the
    server or locally."""
    obstacle, prefix = find_obstacle(), ()
    with ExitStack() as stack:
        if obstacle:
            server = stack.enter_context(InferenceServer())
            url = stack.enter_context(Proxy(server.address, DELAY, LOSS)).address
        else:
            link = stack.enter_context(namespace(DELAY, LOSS))
            server = stack.enter_context(InferenceServer(host=link.address))
            url, prefix = server.address.replace(link.address, link.host), link.prefix
        options = {"backend": "auto", "server_image_format": "jpeg", "server_deadline": 0.5}
        robots = Robots(load.robots, load.rate, prefix, **options, server_url=url)
        stack.enter_context(robots).wait_until_ready()
        row, figures = _work(f"{DELAY * 1e3:.0f} ms, {LOSS:.0%} loss", server, robots, load)
        row.remark = f"by a proxy ({obstacle})" if obstacle else "netem"
        _require_no_gap(row, figures)
        row.require(figures.served > 0.5, f"only {figures.served:.0%} came from the server")
        yield row


SCENARIOS: tuple[Callable[[Load], Iterator[Row]], ...] = (
    *(compare_with_local, faults_of_the_server, wrong_models, overload, slow_network),
)
