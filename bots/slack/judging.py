"""What people do to an answer in Slack: thumbs, a form, reactions. What comes back is seen by that person alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from slack_bolt.async_app import AsyncAck, AsyncApp
from slack_sdk.web.async_client import AsyncWebClient

from bots.slack.buttons import AGAIN, FORM, JUDGE, MORE, WHY, fields_of_form, form_about
from bots.slack.errors import SLACK_FAILURES, reason
from bots.slack.markup import escaped
from core.chat.errors import StoreUnavailable
from core.loop.feedback import Reason, Source, Verdict
from core.loop.listening import AWAY, Listener, Said

_log = structlog.get_logger(__name__)

_REACTIONS = {
    "+1": Verdict.HELPFUL,
    "thumbsup": Verdict.HELPFUL,
    "-1": Verdict.NOT_HELPFUL,
    "thumbsdown": Verdict.NOT_HELPFUL,
}


@dataclass(frozen=True, slots=True)
class Judging:
    """Slack wants each click acknowledged within three seconds; what is done here takes milliseconds."""

    listener: Listener
    web: AsyncWebClient

    def listen(self, app: AsyncApp) -> None:
        """Hears clicks, forms and reactions; before the listener for all other events, as the first one is asked."""
        app.action(JUDGE)(self._clicked)
        app.action(MORE)(self._more)
        app.action(AGAIN)(self._again)
        app.action(WHY)(self._why)
        app.view(FORM)(self._sent)
        app.event("reaction_added")(self._added)
        app.event("reaction_removed")(self._removed)

    async def _clicked(self, ack: AsyncAck, body: dict[str, Any]) -> None:
        await ack()
        action = body["actions"][0]
        # A second click on the same thumb comes like the first: Slack shows it as taken back, and sends no word of it.
        verdict = Verdict.NOT_HELPFUL if action["value"] == Verdict.NOT_HELPFUL.value else Verdict.HELPFUL
        stamp = str(action["action_ts"])
        said = Said(f"slack:{stamp}", body["user"]["id"], verdict, Source.BUTTON, at=float(stamp))
        await self._tell(body, await self.listener.judge(_post_of(body), said))

    async def _more(self, ack: AsyncAck, body: dict[str, Any]) -> None:
        """First of all the form: the right to open one lasts three seconds."""
        try:
            await self.web.views_open(trigger_id=body["trigger_id"], view=form_about(_post_of(body)))
        except SLACK_FAILURES as error:
            _log.warning("slack_form_not_opened", reason=reason(error))
        await ack()

    async def _again(self, ack: AsyncAck, body: dict[str, Any]) -> None:
        await ack()
        await self._tell(body, await self.listener.again(_post_of(body), body["user"]["id"]))

    async def _why(self, ack: AsyncAck, body: dict[str, Any]) -> None:
        await ack()
        await self._tell(body, "\n".join(await self.listener.why(_post_of(body), body["user"]["id"])))

    async def _sent(self, ack: AsyncAck, body: dict[str, Any]) -> None:
        await ack()
        view, form = body["view"], fields_of_form(body["view"])
        post_id, person = str(view["private_metadata"]), str(body["user"]["id"])
        chosen = form.get("reason", "")
        why = Reason(chosen) if chosen in set(Reason) else Reason.OTHER
        said = Said(
            f"slack:{view['id']}",
            person,
            Verdict.NOT_HELPFUL,
            Source.MODAL,
            why,
            form.get("note", ""),
            form.get("better", ""),
        )
        line = await self.listener.judge(post_id, said)
        channel = post_id.partition(":")[0]
        await self._whisper(channel, person, line, "")

    async def _added(self, event: dict[str, Any]) -> None:
        await self._reacted(event, added=True)

    async def _removed(self, event: dict[str, Any]) -> None:
        await self._reacted(event, added=False)

    async def _reacted(self, event: Mapping[str, Any], *, added: bool) -> None:
        """Raises StoreUnavailable: then Slack tells of the reaction once more."""
        verdict, item = _REACTIONS.get(str(event["reaction"]).partition("::")[0]), event.get("item") or {}
        if verdict is None or item.get("type") != "message":
            return
        stamp = str(event["event_ts"])
        post_id = f"{item['channel']}:{item['ts']}"
        said = Said(f"slack:{event['user']}:{stamp}", event["user"], verdict, Source.REACTION, at=float(stamp))
        line = await (self.listener.judge(post_id, said) if added else self.listener.take_back(post_id, said))
        if line == AWAY:
            raise StoreUnavailable("a reaction was not taken")

    async def _tell(self, body: Mapping[str, Any], line: str) -> None:
        where = body["container"]
        await self._whisper(where["channel_id"], body["user"]["id"], line, str(where.get("thread_ts") or ""))

    async def _whisper(self, channel: str, person: str, line: str, thread_ts: str) -> None:
        """A line that only `person` sees. Best effort: what was asked for is done."""
        try:
            await self.web.chat_postEphemeral(
                channel=channel, user=person, text=escaped(line), thread_ts=thread_ts or None
            )
        except SLACK_FAILURES as error:
            _log.warning("slack_line_not_told", reason=reason(error))


def _post_of(body: Mapping[str, Any]) -> str:
    return f"{body['container']['channel_id']}:{body['container']['message_ts']}"
