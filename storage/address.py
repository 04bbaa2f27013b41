"""What REDIS_URL names: one server, a cluster, or a primary that Sentinels watch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from redis.asyncio.connection import parse_url

from core.chat.errors import StoreUnavailable

_SCHEMES = {
    "redis": "server",
    "rediss": "server",
    "unix": "server",
    "redis+cluster": "cluster",
    "rediss+cluster": "cluster",
    "redis+sentinel": "sentinel",
    "rediss+sentinel": "sentinel",
}
_FORMS = (
    "redis://host:port/0, rediss://host:port/0, unix://path, redis+cluster://host:port,host:port or "
    "redis+sentinel://host:port,host:port/name"
)
_PORTS = {"cluster": 6379, "sentinel": 26379}


@dataclass(frozen=True, slots=True)
class Address:
    """`nodes` are of the cluster, or the Sentinels; `options` are redis-py's, for each connection to a server."""

    kind: Literal["server", "cluster", "sentinel"]
    nodes: tuple[tuple[str, int], ...]
    service: str
    options: dict[str, Any]


def parse(url: str) -> Address:
    """Reads `url`; user and password in it are never repeated.

    Raises:
        StoreUnavailable: `url` is none that can be opened.
    """
    split = _split(url)
    kind: Any = _SCHEMES.get(split.scheme)
    if kind is None:
        raise StoreUnavailable(f"REDIS_URL begins with {split.scheme!r}; expected {_FORMS}.")
    if kind == "server":
        return Address(kind, (), "", _options(url))
    user, at, hosts = split.netloc.rpartition("@")
    nodes = tuple(_node(host, _PORTS[kind]) for host in hosts.split(","))
    service, db = _service(split) if kind == "sentinel" else ("", _only_db_0(split))
    # Without the hosts it is a URL as redis-py reads it: user, password, database, options.
    scheme = split.scheme.partition("+")[0]
    return Address(kind, nodes, service, _options(urlunsplit((scheme, user + at, f"/{db}", split.query, ""))))


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as error:
        raise StoreUnavailable(f"REDIS_URL cannot be read ({error}); expected {_FORMS}.") from error


def _options(url: str) -> dict[str, Any]:
    try:
        return dict(parse_url(url))
    except (ValueError, TypeError) as error:
        raise StoreUnavailable(f"REDIS_URL cannot be read ({error}); expected {_FORMS}.") from error


def _node(text: str, default_port: int) -> tuple[str, int]:
    try:
        split = urlsplit(f"//{text}")
        host, port = split.hostname, split.port
    except ValueError as error:
        raise StoreUnavailable(f"REDIS_URL names {text!r}, which is no host:port ({error}).") from error
    if not host:
        raise StoreUnavailable(f"REDIS_URL names {text!r} among its hosts; expected host:port,host:port.")
    return host, port or default_port


def _service(split: SplitResult) -> tuple[str, str]:
    service, _, db = split.path.lstrip("/").partition("/")
    if not service:
        raise StoreUnavailable(
            "REDIS_URL names Sentinels and not whom they watch: end it in the name of the service, as in "
            "redis+sentinel://host:26379,host:26379/mymaster."
        )
    if db and not db.isdecimal():
        raise StoreUnavailable(f"REDIS_URL ends in the database {db!r}; expected a number, as in /{service}/0.")
    return unquote(service), db


def _only_db_0(split: SplitResult) -> str:
    if split.path.strip("/") not in {"", "0"}:
        raise StoreUnavailable(
            f"REDIS_URL names the database {split.path!r} of a cluster, which has 0 alone: leave it."
        )
    return ""
