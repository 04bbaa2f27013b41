"""Slack: a gateway that hears, a courier that posts, and a check of the tokens."""
