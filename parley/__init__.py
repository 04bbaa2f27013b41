"""How Parley starts: command line, settings, composition root, supervisor, embedded services, and what is seen of it."""

from __future__ import annotations

__version__ = "0.1.0"
