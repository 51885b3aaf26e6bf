# SPDX-License-Identifier: Apache-2.0
"""A worker thread that processes the newest item of each sender, taking the senders in turn."""

import threading
import time
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

Sender = TypeVar("Sender")
Item = TypeVar("Item")


class Work(NamedTuple):
    """The item in progress in a worker thread.

    Attributes:
        sender, item: the arguments of `submit`.
        since: `time.monotonic()` at its start.
    """

    sender: Any
    item: Any
    since: float


class NewestItemWorker(Generic[Sender, Item]):
    """A worker thread that calls `process` with the newest item of each sender.

    A new item replaces a waiting one of the same sender. The queue therefore holds at most one item
    per sender, and latency cannot grow. The waiting sender that was served longest ago comes next,
    regardless of how often others send. An exception in `process` ends the thread; Python reports
    it with a traceback, and `on_crash` is called.

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
        # A daemon thread, so that a call that never returns does not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="newest-item-worker", daemon=True)
        self._thread.start()

    def submit(self, sender: Sender, item: Item) -> bool:
        """Submit an item to the worker thread. Returns True if it replaced one that was still
        waiting."""
        with self._condition:
            replaced = sender in self._waiting
            self._waiting[sender] = item
            self._condition.notify()
        # Release the GIL at once: the submitting thread would keep it for the executor's next
        # iteration, half a millisecond, while the worker waits for it.
        time.sleep(0)
        return replaced

    def clear(self) -> None:
        """Drop the items that wait for the worker thread."""
        with self._condition:
            self._waiting = {}

    def stop(self, timeout: float | None) -> bool:
        """Stop the worker thread after the item in progress; wait `timeout` seconds, or forever if
        None.

        Returns:
            Whether it ended. Otherwise it is abandoned, since a Python thread cannot be ended from
            outside; it ends when its call returns.
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
            # Not in order of arrival: if cameras capture at the same time, the one whose image
            # arrives first would be served twice in a row whenever both are late.
            sender = min(self._waiting, key=lambda waiting: self._last_turns.get(waiting, 0))
            self._turn += 1
            self._last_turns[sender] = self._turn
            return sender, self._waiting.pop(sender)
