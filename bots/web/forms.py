"""Forms as they arrive: read within a limit and a time, and cleaned of what no person types."""

from __future__ import annotations

import asyncio
import re
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request

READ_S = 20.0
# A character of four bytes is twelve when a form carries it; the rest is the other fields.
_MAX_BYTES_A_CHAR = 12
_OTHER_FIELDS_BYTES = 2048
_MAX_FIELDS = 8
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


async def read_form(request: Request, max_chars: int) -> dict[str, str]:
    """The fields of an urlencoded form.

    A text field of `max_chars` characters always fits in, so that one that is a little longer can be told so and kept.

    Raises:
        HTTPException: 413 over four times that, 408 when it does not come within READ_S.
    """
    limit = 4 * _MAX_BYTES_A_CHAR * max_chars + _OTHER_FIELDS_BYTES
    body = bytearray()
    try:
        async with asyncio.timeout(READ_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise HTTPException(413, f"That is far too long: I can read {max_chars} characters at once.")
    except TimeoutError:
        raise HTTPException(408, "Your question did not arrive in time. Please send it again.") from None
    try:
        pairs = parse_qsl(body.decode("ascii", "replace"), max_num_fields=_MAX_FIELDS, errors="replace")
    except ValueError:
        raise HTTPException(400, "This form has too many fields.") from None
    return dict(pairs)


def clean(text: str) -> str:
    """`text` with plain line ends, without control characters and outer blanks."""
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).strip()
