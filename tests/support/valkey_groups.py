"""Several real Valkeys that belong together: a cluster, and a primary with a replica that Sentinels watch."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Self

from tests.support.valkey import ValkeyServer, free_port

_SLOTS = 16384
_SETTLE_S = 60.0
SERVICE = "parley"
_PERIODS_MS = {"info-period": 300, "ping-period": 200, "ask-period": 200, "publish-period": 200}


def _until(settled: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _SETTLE_S
    while not settled():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not come about in {_SETTLE_S:.0f} s.")
        time.sleep(0.02)


class ValkeyCluster:
    """Three masters with all slots between them; whoever holds the key `copied` has a replica, the last of `nodes`."""

    def __init__(self, copied: str = "") -> None:
        self._stack = ExitStack()
        self._bus = {self._start(port): port for port in (free_port() for _ in range(4 if copied else 3))}
        self.nodes = list(self._bus)
        self.masters = self.nodes[:3]
        for number, node in enumerate(self.masters):
            first, last = number * _SLOTS // 3, (number + 1) * _SLOTS // 3 - 1
            self._tell(node, "ADDSLOTSRANGE", first, last)
            self._tell(node, "SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            self._tell(node, "MEET", "127.0.0.1", self.nodes[0].port, self._bus[self.nodes[0]])
        _until(self._is_whole, "The cluster")
        if copied:
            master = self.master_of(copied)
            self._tell(self.nodes[-1], "REPLICATE", self._tell(master, "MYID"))
            _until(lambda: _has_replica(master), "The replica")

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def master_of(self, key: str) -> ValkeyServer:
        """The master that holds `key`, as the nodes see it now."""
        slot = int(self._tell(self.nodes[-1], "KEYSLOT", key))
        with self.nodes[-1].client() as client:
            ranges = client.execute_command("CLUSTER SLOTS")
        [port] = [primary[1] for first, last, primary, *_ in ranges if first <= slot <= last]
        return next(node for node in self.nodes if node.port == port)

    def move_slot(self, key: str, to: ValkeyServer | None = None) -> ValkeyServer:
        """Moves the slot of `key`, with all its keys, to another master; returns the one that had it."""
        slot, source = self._tell(self.nodes[0], "KEYSLOT", key), self.master_of(key)
        target = to or next(node for node in self.masters if node is not source)
        target_id = self._tell(target, "MYID")
        self._tell(target, "SETSLOT", slot, "IMPORTING", self._tell(source, "MYID"))
        self._tell(source, "SETSLOT", slot, "MIGRATING", target_id)
        with source.client() as client:
            while keys := client.execute_command("CLUSTER GETKEYSINSLOT", slot, 100):
                client.migrate("127.0.0.1", target.port, keys, 0, 5000)
        for node in (target, source, *self.masters):
            self._tell(node, "SETSLOT", slot, "NODE", target_id)
        return source

    def flush(self) -> None:
        for node in self.masters:
            with node.client() as client:
                client.flushall()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self, bus: int) -> ValkeyServer:
        options = {"cluster_enabled": "yes", "cluster_port": str(bus), "cluster_node_timeout": "2000"}
        return self._stack.enter_context(ValkeyServer(free_port(), databases="1", **options))

    def _tell(self, node: ValkeyServer, *words: str | int) -> str:
        with node.client() as client:
            return str(client.execute_command("CLUSTER", *words))

    def _is_whole(self) -> bool:
        for node in self.nodes:
            with node.client() as client:
                info = client.execute_command("CLUSTER INFO")
            if info["cluster_state"] != "ok" or int(info["cluster_known_nodes"]) != len(self.nodes):
                return False
        return True


class WatchedValkey:
    """A primary and a replica of it, watched by three Sentinels of which two must agree."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        first = self._stack.enter_context(ValkeyServer(free_port()))
        second = self._stack.enter_context(ValkeyServer(free_port(), replicaof=f"127.0.0.1 {first.port}"))
        self.servers = (first, second)
        _until(lambda: _has_replica(first), "The replica")
        self.sentinels = [self._stack.enter_context(_Sentinel(first.port)) for _ in range(3)]
        self.until_whole()

    @property
    def primary(self) -> ValkeyServer:
        """The one that the Sentinels name."""
        with self.sentinels[0].client() as client:
            _, port = client.sentinel_get_master_addr_by_name(SERVICE)
        return next(server for server in self.servers if server.port == int(port))

    def until_copied(self) -> None:
        """Until the replica has all that the primary has."""
        _until(lambda: len({server.written() for server in self.servers}) == 1, "The copy")

    def until_whole(self) -> None:
        """Until the primary has its replica, and all Sentinels know both and one another."""
        _until(lambda: _has_replica(self.primary), "The replica")
        _until(lambda: all(sentinel.knows_all() for sentinel in self.sentinels), "The Sentinels")

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}/0"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


class _Sentinel(ValkeyServer):
    def __init__(self, primary_port: int) -> None:
        self._primary_port = primary_port
        super().__init__(free_port(), "--sentinel")

    def start(self) -> None:
        lines = [
            f"sentinel monitor {SERVICE} 127.0.0.1 {self._primary_port} 2",
            f"sentinel down-after-milliseconds {SERVICE} 1000",
            f"sentinel failover-timeout {SERVICE} 5000",
        ]
        (self.home / "conf").write_text("\n".join(lines) + "\n", "utf-8")
        super().start()
        with self.client() as client:  # they would look around every ten seconds
            client.execute_command("SENTINEL", "DEBUG", *(word for pair in _PERIODS_MS.items() for word in pair))

    def knows_all(self) -> bool:
        with self.client() as client:
            state = client.sentinel_master(SERVICE)
        return (state["num-slaves"], state["num-other-sentinels"]) == (1, 2)


def _has_replica(primary: ValkeyServer) -> bool:
    with primary.client() as client:
        found = client.info("replication")
    return any(
        isinstance(value, dict) and value.get("state") == "online"
        for name, value in found.items()
        if name.startswith("slave")
    )
