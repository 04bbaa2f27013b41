"""The desk between the host and an engine's thread: no order is ever left without an answer."""

from __future__ import annotations

from model.serve.engine import Drawing, Step
from model.serve.orders import Desk, Order

DRAWING = Drawing(temperature=0.0, top_p=1.0, max_tokens=1, seed=0)


def order(key: int, steps: list[Step]) -> Order:
    return Order(key, [1], DRAWING, steps.append)


def test_orders_come_oldest_first() -> None:
    desk, steps = Desk(), list[Step]()
    first, second = order(1, steps), order(2, steps)

    desk.place(first)
    desk.place(second)

    assert [desk.take(), desk.take(), desk.take()] == [first, second, None]


def test_orders_that_wait_when_the_engine_ends_are_broken_off() -> None:
    desk, waiting, late = Desk(), list[Step](), list[Step]()
    desk.place(order(1, waiting))

    desk.shut()
    desk.place(order(2, late))

    assert waiting == late == [Step((), "abort")]
    assert desk.is_shut


def test_withdrawn_order_is_forgotten_while_it_waits_and_told_once_when_it_was_taken() -> None:
    desk, steps = Desk(), list[Step]()
    desk.place(order(1, steps))
    desk.take()
    desk.place(order(2, steps))

    desk.cancel(1)
    desk.cancel(2)

    assert desk.take() is None
    assert desk.take_cancelled() == {1}
    assert desk.take_cancelled() == set()


def test_closing_wakes_an_idle_engine() -> None:
    desk = Desk()

    desk.close()

    assert desk.wait(idle=True) is False
