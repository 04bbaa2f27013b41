"""A Slack on loopback: Web API and Socket Mode, strict where Slack is strict."""

from tests.support.fake_slack.server import FakeSlack
from tests.support.fake_slack.workspace import Channel, Post

__all__ = ["Channel", "FakeSlack", "Post"]
