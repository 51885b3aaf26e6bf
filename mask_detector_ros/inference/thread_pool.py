# SPDX-License-Identifier: Apache-2.0
"""Run the parts of a job in parallel."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")


class ThreadPool:
    """Threads that process the parts of a job; the caller's thread is one of them.

    This helps if the parts spend their time in libraries that release the GIL. Parallel parts scale
    better than threads inside one call of a small network, which synchronise at every layer.

    Attributes:
        count: number of threads. With one, parts run in sequence.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._others = ThreadPoolExecutor(count - 1, "thread") if count > 1 else None

    def map(self, function: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
        """Apply a function to each part in the thread pool; return the results in order.

        Raises the function's exception. Some other parts may have finished by then; none is still
        running.
        """
        if self._others is None or len(parts) < 2:
            return [function(part) for part in parts]
        results: dict[int, Result] = {}
        # Taking the next part is atomic in the interpreter, so no part is taken twice.
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
            # After an error no thread takes another part; otherwise none is left.
            waiting.clear()
            # Do not wait for threads that have not started.
            begun = [other for other in others if not other.cancel()]
            wait(begun)
        for other in begun:
            other.result()
        return [results[number] for number in range(len(parts))]
