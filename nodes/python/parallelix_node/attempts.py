"""What runs on this node, and what can end it."""

import threading
import time
from contextlib import contextmanager
from typing import Callable, Iterator

#: A command may overtake the work that it is about by as much as it takes to open a ticket.
EARLY_MAX = 64
#: What isn't picked up within this time after it was dispatched goes to another node.
PICKUP_SECONDS = 2.0

Key = tuple[str, int]


class Stop:
    """Ends one execution, once: `deadline`, `cancelled`, or `abandoned` if nobody waits for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._act: Callable[[], None] | None = None
        self.reason: str | None = None

    def set(self, reason: str) -> None:
        """The first reason counts."""
        with self._lock:
            if self.reason is not None:
                return
            self.reason = reason
            act = self._act
        if act:
            act()

    def on_set(self, act: Callable[[], None]) -> None:
        """`act` is called at once if it is over already."""
        with self._lock:
            self._act = act
            is_over = self.reason is not None
        if is_over:
            act()


class Attempts:
    """Heartbeats tell them, and the coordinator's commands cancel them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[Key, list[Stop]] = {}
        self._early: dict[Key, None] = {}

    @contextmanager
    def running(self, unit_id: str, dispatch: int, stop: Stop) -> Iterator[None]:
        key = (unit_id, dispatch)
        with self._lock:
            stops = self._running.setdefault(key, [])
            stops.append(stop)
            is_cancelled = key in self._early
            self._early.pop(key, None)
        if is_cancelled:
            stop.set("cancelled")
        try:
            yield
        finally:
            with self._lock:
                stops.remove(stop)
                if not stops:
                    self._running.pop(key, None)

    def snapshot(self) -> list[dict]:
        """As heartbeats name them."""
        with self._lock:
            return [{"unitId": unit, "dispatch": dispatch} for unit, dispatch in self._running]

    def cancel(self, unit_id: str, dispatch: int) -> None:
        """What isn't here yet is remembered for a while; what never comes, does nothing."""
        key = (unit_id, dispatch)
        with self._lock:
            stops = list(self._running.get(key, []))
            if not stops:
                self._early[key] = None
                if len(self._early) > EARLY_MAX:
                    del self._early[next(iter(self._early))]
        for stop in stops:
            stop.set("cancelled")

    def wait_until_begun(self, attempts: list[dict]) -> None:
        """Until these have begun, or would have been picked up by now."""
        until = time.monotonic() + PICKUP_SECONDS
        awaited = {(each["unitId"], each["dispatch"]) for each in attempts}
        while awaited and time.monotonic() < until:
            with self._lock:
                awaited -= self._running.keys()
            time.sleep(0.02)
