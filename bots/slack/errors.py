"""What can go wrong with Slack, in our words.

ParleyError
├── NotCaughtUp        what was missed before an event has to be read first, and cannot be at the moment
├── SlackSetupError    a token, a scope or an address that only an operator can put right
└── DeliveryFailed
    └── NoTurn         a call that may be left out had to wait too long for its turn
"""

from __future__ import annotations

from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError

from core.chat.errors import DeliveryFailed, ParleyError

# What a Web API call raises when Slack refuses it, cannot be reached, or does not answer in time.
SLACK_FAILURES = (SlackClientError, aiohttp.ClientError, TimeoutError)

WRONG_TOKEN = frozenset({"invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired"})
# No further try can succeed: the place is gone, or we may not write there.
_FINAL = WRONG_TOKEN | {
    "channel_not_found",
    "not_in_channel",
    "is_archived",
    "is_inactive",
    "missing_scope",
    "not_allowed_token_type",
    "no_permission",
    "ekm_access_denied",
    "restricted_action",
    "restricted_action_read_only_channel",
    "restricted_action_thread_only_channel",
    "restricted_action_non_threadable_channel",
    "restricted_action_thread_locked",
    "cannot_reply_to_message",
    "messages_tab_disabled",
    "team_access_not_granted",
    "org_login_required",
    "access_denied",
}
# With these the request may have been carried out all the same.
_UNSURE = frozenset({"internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org"})


class SlackSetupError(ParleyError):
    """Slack cannot be used as it is set up; the text names the setting and the remedy."""


class NotCaughtUp(ParleyError):
    """What was missed cannot be read at the moment, and what is said now must not pass it."""


class NoTurn(DeliveryFailed):
    """Slack's pace leaves no room for a call that may be left out."""

    def __init__(self, method: str) -> None:
        super().__init__(f"Slack: no turn at {method} in time")


def reason(error: BaseException) -> str:
    """Slack's own name of the failure, such as `channel_not_found`, or what the network said."""
    if not isinstance(error, SlackApiError):
        return f"{type(error).__name__}: {error}".rstrip(": ")
    # A body that is no JSON object leaves the response without an error name.
    body: Any = getattr(error.response, "data", None)
    name = body.get("error") if isinstance(body, dict) else None
    return str(name) if name else f"http_{_status(error)}"


def is_refusal(error: BaseException) -> bool:
    """Whether Slack certainly did not do what was asked; otherwise it may or may not have been done."""
    return isinstance(error, SlackApiError) and _status(error) < 500 and reason(error) not in _UNSURE


def retry_after_s(error: BaseException) -> float | None:
    """Seconds that Slack asks us to wait, None when this was no rate limit."""
    if not isinstance(error, SlackApiError):
        return None
    limited = _status(error) == 429 or reason(error) in ("ratelimited", "rate_limited")
    return float(error.response.headers.get("Retry-After", 1)) if limited else None


def delivery_failed(error: BaseException) -> DeliveryFailed:
    """The failure as core knows it."""
    name = reason(error)
    return DeliveryFailed(f"Slack: {name}", retryable=name not in _FINAL)


def _status(error: SlackApiError) -> int:
    response: Any = error.response
    # An unreadable body carries aiohttp's response instead of the SDK's.
    return int(response.status_code if hasattr(response, "status_code") else response.status)
