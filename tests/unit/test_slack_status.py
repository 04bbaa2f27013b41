"""A status is shown for answers that do not begin at once, and only for those."""

from __future__ import annotations

import asyncio

from bots.slack.status import Status

FOREVER_S = 3600.0


class Shown:
    """What was shown; the call waits until the test `lets` it through."""

    def __init__(self, *, waits: bool = False) -> None:
        self.calls: list[bool] = []
        self.lets = asyncio.Event()
        if not waits:
            self.lets.set()

    async def __call__(self, on: bool) -> None:  # noqa: FBT001 - as Status calls it
        self.calls.append(on)
        await self.lets.wait()


async def asked(shown: Shown) -> None:
    async with asyncio.timeout(5.0):
        while not shown.calls:
            await asyncio.sleep(0)


async def test_an_answer_that_begins_at_once_needs_no_status() -> None:
    shown = Shown()
    status = Status(shown, left_on=False, after_s=FOREVER_S)

    status.begin()
    await status.text_comes()
    await status.end()

    assert shown.calls == []


async def test_a_slow_answer_has_its_status_until_its_end() -> None:
    shown = Shown()
    status = Status(shown, left_on=False, after_s=0.0)

    status.begin()
    await asked(shown)
    await status.text_comes()
    assert shown.calls == [True]
    await status.end()

    assert shown.calls == [True, False]


async def test_text_waits_for_a_status_that_is_on_its_way() -> None:
    shown = Shown(waits=True)
    status = Status(shown, left_on=False, after_s=0.0)
    status.begin()
    await asked(shown)

    coming = asyncio.ensure_future(status.text_comes())
    for _ in range(20):
        await asyncio.sleep(0)
    waited = not coming.done()
    shown.lets.set()
    await coming

    assert waited
    assert shown.calls == [True]


async def test_a_status_that_an_earlier_attempt_left_is_ended() -> None:
    shown = Shown()
    status = Status(shown, left_on=True, after_s=FOREVER_S)

    await status.end()
    await status.end()

    assert shown.calls == [False]


async def test_a_status_left_on_is_ended_by_an_attempt_that_shows_none_itself() -> None:
    shown = Shown()
    status = Status(shown, left_on=True, after_s=FOREVER_S)

    status.begin()
    ending = asyncio.ensure_future(status.end())
    async with asyncio.timeout(5.0):
        await ending

    assert shown.calls == [False]
