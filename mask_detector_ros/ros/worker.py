"""A thread that always works on the newest item of each sender, the senders in turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

Sender = TypeVar("Sender")
Item = TypeVar("Item")


class Work(NamedTuple):
    """What a worker is doing.

    Attributes:
        sender, item: as submitted.
        since: `time.monotonic()` of its beginning.
    """

    sender: Any
    item: Any
    since: float


class NewestItemWorker(Generic[Sender, Item]):
    """Calls `process` in a thread of its own, with the newest item that a sender submitted.

    A new item replaces one of the same sender that still waits: the queue is never longer than
    there are senders, so latency cannot grow. Of the senders that wait, the one that was served
    longest ago comes next, however often and whenever the others send. An exception in `process`
    ends the thread, is reported by Python with its traceback, and makes it call `on_crash`.

    Attributes:
        work: the item in progress; None while it waits for one.
    """

    def __init__(
        self, process: Callable[[Sender, Item], None], on_crash: Callable[[], None]
    ) -> None:
        self._process = process
        self._on_crash = on_crash
        self.work: Work | None = None
        self._condition = threading.Condition()
        self._waiting: dict[Sender, Item] = {}
        self._turn = 0
        self._last_turns: dict[Sender, int] = {}
        self._stopped = False
        # A daemon, so that a call that never returns cannot keep the process alive.
        self._thread = threading.Thread(target=self._run, name="newest-item-worker", daemon=True)
        self._thread.start()

    def submit(self, sender: Sender, item: Item) -> bool:
        """Submit an item. Returns True if it replaced one that was still waiting."""
        with self._condition:
            replaced = sender in self._waiting
            self._waiting[sender] = item
            self._condition.notify()
        # Hand Python's lock over at once: the thread that submits would keep it for its next
        # round, half a millisecond of an rclpy executor, while the worker waits for it.
        time.sleep(0)
        return replaced

    def clear(self) -> None:
        """Drop the items that wait."""
        with self._condition:
            self._waiting = {}

    def stop(self, timeout: float | None) -> bool:
        """End the thread after the item in progress; wait `timeout` seconds, or for ever on None.

        Returns:
            Whether it ended. One that did not is abandoned: no Python thread can be ended from
            outside. It ends when its call returns.
        """
        with self._condition:
            self._stopped = True
            self._condition.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        ended_well = False
        try:
            while (task := self._next()) is not None:
                self.work = Work(*task, time.monotonic())
                self._process(*task)
                self.work = None
            ended_well = True
        finally:
            if not ended_well:
                self._on_crash()

    def _next(self) -> tuple[Sender, Item] | None:
        with self._condition:
            self._condition.wait_for(lambda: self._waiting or self._stopped)
            if self._stopped:
                return None
            # Not in the order of arrival: of cameras that take their images at the same time, the
            # one that always comes first would be served twice in a row whenever both are late.
            sender = min(self._waiting, key=lambda waiting: self._last_turns.get(waiting, 0))
            self._turn += 1
            self._last_turns[sender] = self._turn
            return sender, self._waiting.pop(sender)
