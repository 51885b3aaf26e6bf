# SPDX-License-Identifier: Apache-2.0
"""Load something slow, such as networks, in the background."""

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from mask_detector_ros.errors import MaskDetectorError

Loaded = TypeVar("Loaded")

logger = logging.getLogger(__name__)


class BackgroundLoad(Generic[Loaded]):
    """Calls `load` in a background thread; callers poll for the result.

    Args:
        load: called with a function that takes progress messages and a function that returns
            whether the result is no longer wanted. If it raises `MaskDetectorError`, the
            failure is logged and kept.
        fallback: what happens if loading fails, for the log.

    Attributes:
        state: progress as text: `starting`, the last message of `load`, `ready` or `failed: ...`.
        failure: why loading failed; empty otherwise.
    """

    def __init__(
        self,
        load: Callable[[Callable[[str], None], Callable[[], bool]], Loaded],
        fallback: str,
    ) -> None:
        self.state, self.failure = "starting", ""
        self._load, self._fallback = load, fallback
        self._cancelled = threading.Event()
        self._result: list[Loaded] = []
        self._thread = threading.Thread(target=self._run, name="background-load", daemon=True)
        self._thread.start()

    def take(self) -> Loaded | None:
        """Return the result of the background load once; None before it is ready and after it was
        taken."""
        return self._result.pop() if self._result else None

    def cancel(self) -> None:
        """Cancel the background load and wait for its thread."""
        self._cancelled.set()
        self._thread.join()
        self._result.clear()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the background load has succeeded or failed."""
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            result = self._load(self._say, self._cancelled.is_set)
        except MaskDetectorError as error:
            self._fail(str(error))
            if not self._cancelled.is_set():
                logger.warning("%s: %s", self._fallback, error)
            return
        except Exception:
            # A bug: Python reports it from this thread, and the state must show the failure.
            self._fail("unexpected error, see the log")
            raise
        if not self._cancelled.is_set():
            self._result.append(result)
            self.state = "ready"

    def _fail(self, reason: str) -> None:
        self.state, self.failure = f"failed: {reason}", reason

    def _say(self, text: str) -> None:
        self.state = text
