"""Forms as they arrive: read within a limit and a time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.requests import Request

from admin.errors import Refused

MAX_BYTES = 256_000
MAX_FIELDS = 64
READ_S = 20.0


async def read_form(request: Request) -> Mapping[str, str]:
    """The fields of an urlencoded form; of several with one name the last one counts.

    Raises:
        Refused: it is too large, does not arrive in time, or cannot be read.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(READ_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise Refused(413, "That is too much at once.")
    except TimeoutError:
        raise Refused(408, "The form did not arrive in time. Please send it again.") from None
    try:
        text = body.decode("ascii", "replace")
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="replace"))
    except ValueError:
        raise Refused(400, "This form cannot be read.") from None
