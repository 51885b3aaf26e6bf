"""Parts of a job side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")


class ThreadPool:
    """So many threads that work on the parts of a job, the caller's among them.

    It pays where parts spend their time in libraries that let other threads run: the parts of an
    image are many, and threads that share one call of a small network wait for each other at
    each of its layers.

    Attributes:
        count: of the threads. With one, parts are done in turn.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._others = ThreadPoolExecutor(count - 1, "thread") if count > 1 else None

    def map(self, function: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
        """What the function gives for each part, in order.

        Raises what the function raises; some of the other parts are done by then, and none goes
        on.
        """
        if self._others is None or len(parts) < 2:
            return [function(part) for part in parts]
        results: dict[int, Result] = {}
        # Taking from it is one step of the interpreter, so that no part is taken twice.
        waiting = list(enumerate(parts))[::-1]

        def work() -> None:
            while True:
                try:
                    number, part = waiting.pop()
                except IndexError:
                    return
                results[number] = function(part)

        others = [self._others.submit(work) for _ in range(min(self.count, len(parts)) - 1)]
        try:
            work()
        finally:
            # After an error nobody takes another part; else there is none.
            waiting.clear()
            # One that has not even begun is not waited for.
            begun = [other for other in others if not other.cancel()]
            wait(begun)
        for other in begun:
            other.result()
        return [results[number] for number in range(len(parts))]
