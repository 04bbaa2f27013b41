"""How Parley starts and is watched: command line, settings, composition root, supervisor, embedded services."""

from __future__ import annotations

__version__ = "0.1.0"
