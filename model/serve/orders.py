"""The desk between the host and an engine's own thread: who wants an answer, who no longer does."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from model.serve.engine import Drawing, Step


@dataclass(frozen=True, slots=True)
class Order:
    """One answer wanted."""

    key: int
    prompt: Sequence[int]
    drawing: Drawing
    deliver: Callable[[Step], None]


class Desk:
    """Takes orders from any thread and gives them to one. After `shut` every order is answered with `abort`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._orders: deque[Order] = deque()
        self._cancelled: set[int] = set()
        self._closing = False
        self._shut = False

    @property
    def is_shut(self) -> bool:
        """Whether the engine's thread has ended."""
        return self._shut

    def place(self, order: Order) -> None:
        """Asks for an answer."""
        with self._changed:
            if not self._shut:
                self._orders.append(order)
                self._changed.notify()
                return
        order.deliver(Step((), "abort"))

    def cancel(self, key: int) -> None:
        """Withdraws an order, whether it waits here or is under way."""
        with self._changed:
            waiting = [order for order in self._orders if order.key != key]
            if len(waiting) == len(self._orders):
                self._cancelled.add(key)
            self._orders = deque(waiting)
            self._changed.notify()

    def close(self) -> None:
        """Asks the engine's thread to end."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def wait(self, *, idle: bool) -> bool:
        """Waits, when the engine is `idle`, until there is something to do. False when it shall end."""
        with self._changed:
            if idle:
                self._changed.wait_for(lambda: self._orders or self._cancelled or self._closing)
            return not self._closing

    def take(self) -> Order | None:
        """The oldest order, if there is one. One at a time, so that none is lost when the engine breaks over one."""
        with self._changed:
            return self._orders.popleft() if self._orders else None

    def take_cancelled(self) -> set[int]:
        """The keys of answers under way that nobody wants any more; keys of ended ones may be among them."""
        with self._changed:
            cancelled, self._cancelled = self._cancelled, set()
            return cancelled

    def shut(self) -> None:
        """Answers all that wait, and all that come, with `abort`."""
        with self._changed:
            self._shut = True
            waiting, self._orders = self._orders, deque()
        for order in waiting:
            order.deliver(Step((), "abort"))
