"""The client of model hosts that speak the OpenAI dialect; needs no torch."""

from model.client.embedding import HostEmbedder, open_embedder
from model.client.fleet import HostFleet, open_fleet
from model.client.health import BackOff
from model.client.host import HttpModelHost
from model.client.timing import Retries, Timeouts

__all__ = [
    "BackOff",
    "HostEmbedder",
    "HostFleet",
    "HttpModelHost",
    "Retries",
    "Timeouts",
    "open_embedder",
    "open_fleet",
]
