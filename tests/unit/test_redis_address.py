from __future__ import annotations

import pytest
from redis.asyncio import SSLConnection

from core.chat.errors import StoreUnavailable
from storage.address import parse


def test_cluster_is_named_by_its_nodes() -> None:
    address = parse("redis+cluster://ada:s%40crets@a:7001,[::1]:7002,c?health_check_interval=5")

    assert address.kind == "cluster"
    assert address.nodes == (("a", 7001), ("::1", 7002), ("c", 6379))
    assert address.options == {"username": "ada", "password": "s@crets", "health_check_interval": 5}


def test_primary_is_named_by_its_sentinels_and_their_name_for_it() -> None:
    address = parse("redis+sentinel://:secret@a,b:26380/my%20primary/3")

    assert (address.kind, address.service) == ("sentinel", "my primary")
    assert address.nodes == (("a", 26379), ("b", 26380))
    assert address.options == {"password": "secret", "db": 3}
    assert parse("redis+sentinel://a/main").options == {}


@pytest.mark.parametrize("url", ["rediss+cluster://a:1", "rediss+sentinel://a:1/main"])
def test_every_form_knows_tls(url: str) -> None:
    assert parse(url).options["connection_class"] is SSLConnection


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("http://127.0.0.1", "'http'"),
        ("127.0.0.1:6379", "expected redis://host:port/0"),
        ("redis://127.0.0.1/0?socket_timeout=soon", "socket_timeout"),
        ("redis+cluster://", "''"),
        ("redis+cluster://a:1,,b:1", "host:port,host:port"),
        ("redis+cluster://a:many", "'a:many'"),
        ("redis+cluster://a:1/2", "'/2'"),
        ("redis+cluster://[::1", "cannot be read"),
        ("redis+cluster://a:1?socket_timeout=soon", "socket_timeout"),
        ("redis+sentinel://a:1", "/mymaster"),
        ("redis+sentinel://a:1/main/first", "'first'"),
        ("redis+sentinel://:1/main", "':1'"),
    ],
)
def test_what_cannot_be_read_is_named_without_its_password(url: str, named: str) -> None:
    scheme, _, rest = url.partition("://")
    with pytest.raises(StoreUnavailable, match="REDIS_URL") as raised:
        parse(f"{scheme}://u:secret@{rest}" if rest and not rest.startswith("[") else url)

    assert named in str(raised.value)
    assert "secret" not in str(raised.value)
