"""What can go wrong when the web page is set up.

WebSetupError      the page cannot be served as it is configured
"""

from __future__ import annotations


class WebSetupError(Exception):
    """The web page cannot be served; the text names the setting and the remedy."""
