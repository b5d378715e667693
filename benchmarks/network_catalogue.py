"""What is measured over the network: each scenario, and the bars that this package has to clear."""

from dataclasses import dataclass, field, replace

#: Two that are level differ by no more than a busy machine makes them differ.
LEVEL = 0.95


@dataclass(frozen=True)
class Scenario:
    """One row of the table."""

    name: str
    title: str
    #: What the server does with a connection: see `network_server.py`.
    server: str
    #: The load generator's scenario, one of those in `load_generator/src/main.rs`.
    load: str
    #: By side, how many times that side's figure this package's must be.
    bars: dict[str, float]
    connections: int = 1
    bytes: int = 64
    seconds: float = 2.0
    #: The figure is resident bytes per connection, of which less is better.
    memory: bool = False
    #: The figure is requests per second of the server's processor time, as the load generator is
    #: slower than the server.
    by_cost: bool = False
    #: Sides that are measured beside gevent and this package.
    beside: tuple[str, ...] = field(default=("uvloop",))

    def quick(self) -> "Scenario":
        """Return a shorter version of this scenario, for a first impression."""
        if self.memory:
            return replace(self, connections=self.connections // 5)
        return replace(self, seconds=self.seconds / 3)


def _echo(name: str, title: str, bar: float, connections: int, size: int = 64) -> Scenario:
    bars = {"gevent": bar, "uvloop": LEVEL, "ceiling": 0.85}
    return Scenario(
        name, title, "echo", "echo", bars, connections, size, beside=("uvloop", "ceiling")
    )


SCENARIOS = (
    _echo("echo_1", "echo, 64 bytes, 1 connection", LEVEL, 1),
    _echo("echo_64", "echo, 64 bytes, 64 connections", 1.4, 64),
    _echo("echo_1000", "echo, 64 bytes, 1,000 connections", 1.6, 1000),
    Scenario(
        "echo_large",
        "echo, 64 KiB, 16 connections",
        "echo",
        "echo",
        {"gevent": LEVEL},
        connections=16,
        bytes=65536,
        beside=("uvloop", "ceiling"),
    ),
    Scenario(
        "churn",
        "accept and close",
        "close",
        "churn",
        {"gevent": 2},
        connections=64,
        by_cost=True,
        beside=("uvloop", "ceiling"),
    ),
    Scenario("sendall", "`sendall` of 1 GiB", "send", "drain", {"gevent": LEVEL}),
    Scenario(
        "idle",
        "memory of an idle connection",
        "echo",
        "hold",
        {"gevent": 0.7},
        connections=10_000,
        memory=True,
        beside=("uvloop", "ceiling"),
    ),
)
