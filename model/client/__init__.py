"""The client of model hosts that speak the OpenAI dialect; needs no torch."""

from model.client.host import HttpModelHost
from model.client.timing import RetryBudget, Timeouts

__all__ = ["HttpModelHost", "RetryBudget", "Timeouts"]
