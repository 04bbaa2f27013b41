"""The web page's socket."""

from __future__ import annotations

import socket

from bots.web.server import open_port


def test_what_is_sent_to_a_browser_waits_for_no_acknowledgement() -> None:
    with open_port("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        listener.setblocking(True)
        accepted, _ = listener.accept()

        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
