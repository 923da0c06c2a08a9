"""Cluster: engines and environments as Ray actors, on this machine or on many; the driver runs the same `train.step`.

    replica.py   one actor: a policy's copy, an engine of any name, and whole tasks growing beside it
    worlds.py    actors that answer for the environment, each answer with a deadline
    ranks.py     actors that compute gradients together
    front.py     what the driver holds: an engine of the usual protocol whose replicas are elsewhere

What travels is a whole task: one message there (task, place, step), one back (its groups, what was counted). Noise is
addressed by (seed, step, place, path, position), so it does not matter which replica grows a task, beside which others, or
whether it was asked twice: a task lost with its actor is asked again of another and comes back with the same bits.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from strop.own import MODULE
from strop.seams.part import nearest

if TYPE_CHECKING:
    from strop.cluster.front import Front
    from strop.method import Method
    from strop.recipe import Recipe
    from strop.seams.learner import Learner
    from strop.seams.source import Source

MEGABYTES = 200
"""Object store of a cluster that strop starts itself: it holds one copy of the weights and the groups on their way."""


CONNECT = 10.0
"""Seconds to reach a cluster's address."""
WAYS = "--cluster local starts a cluster on this machine; `ray start --head` starts one that --cluster auto finds."
TOKEN = "Does the cluster ask for a token, as Ray's own do by default? Then set RAY_AUTH_MODE=token, and its RAY_AUTH_TOKEN."


class ClusterError(ValueError):
    """What the cluster cannot give: which actor, on which node, and the deadline that passed."""


@dataclass(frozen=True)
class Deadlines:
    """Seconds that anybody waits for somebody else. All but the first are below a minute, so a fault is gone or named within one."""

    opening: float = 180.0
    """The first replicas are placed, have read torch from a cold disk and loaded the model."""
    start: float = 50.0
    """The same for one that is started in the place of another. An engine that takes longer says so: vLLM's option `start`."""
    deliver: float = 30.0
    heartbeat: float = 15.0
    """A replica that is alive answers within this, whatever it computes."""
    stall: float = 40.0
    """A replica that was asked for something computes a position within this."""
    reply: float = 12.0
    """An environment answers one action."""
    patience: float = 8.0
    """A task that takes longer than this, and three times longer than others took, is asked of an idle replica as well."""


@dataclass(frozen=True)
class Cluster:
    """Where replicas live, and how many."""

    address: str
    """`local` starts Ray on this machine; `auto` finds the one that runs here; `ray://HOST:PORT` or `HOST:PORT` is one elsewhere."""
    replicas: int | None = None
    """None: one for each GPU of the cluster, or for each CPU where it has none."""
    workers: int | None = None
    """Processes that answer for the environment; None: one beside each replica, where the method has an environment."""
    ranks: int | None = None
    """Processes that compute gradients, each with its part of the weights; None: the driver does."""
    source: Source | None = None
    """A source of the user's own, which no name gives."""
    deadlines: Deadlines = Deadlines()
    open: list[Any] = field(default_factory=list[Any], init=False, compare=False, repr=False)
    """Fronts and ranks that end with the connection."""

    def __post_init__(self) -> None:
        for name in ("replicas", "workers", "ranks"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value}: needs a whole number of at least 1")

    def front(self, policy: Any, recipe: Recipe) -> Front:
        """The engine of a run: `Run(…, engine=cluster.front)`."""
        from strop.cluster.front import Front

        self.open.append(front := Front(policy, recipe, self))
        return front

    def learner(self, policy: Any, method: Method, recipe: Recipe) -> Learner:
        """The learner of a run: `Run(…, learner=cluster.learner)`."""
        if self.ranks is None:
            from strop.learners.local import Local

            return Local(policy, method, recipe)
        from strop.cluster.ranks import hired

        return hired(self, policy, method, recipe)


@contextmanager
def connected(cluster: Cluster) -> Iterator[Cluster]:
    """Ray for as long as this lasts; one that strop started goes with it, and so do the actors in any."""
    try:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's workers give way to everybody else, and here they are the work
        import ray
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("--cluster needs Ray: pip install 'strop[ray]'") from error
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}
    _reachable(cluster.address)
    if ray.is_initialized():
        raise ClusterError("this process is connected to Ray already: one cluster at a time.")
    try:
        if cluster.address == "local":
            count = max(cluster.replicas or 0, os.cpu_count() or 1) + (cluster.ranks or 0)
            ray.init(address="local", num_cpus=count, object_store_memory=MEGABYTES << 20, include_dashboard=False, **quiet)
        else:
            ray.init(address=cluster.address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, ImportError) as error:
        ray.shutdown()
        said = str(error).strip().partition("\n")[0]
        token = "" if cluster.address == "local" else f" {TOKEN}"
        raise ClusterError(f"no Ray cluster at {cluster.address!r}: {said}. {WAYS}{token}") from error
    try:
        yield cluster
    finally:
        for one in cluster.open:
            one.close()
        ray.shutdown()


def _reachable(address: str) -> None:
    """Ray waits for ever at an address where nobody answers, so a socket is tried first."""
    if address in ("local", "auto"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"cluster={address!r}: write local, auto, HOST:PORT or ray://HOST:PORT. {nearest(address, ('local', 'auto'))}")
    try:
        socket.create_connection((host, int(port)), CONNECT).close()
    except OSError as error:
        raise ClusterError(f"nobody answers at {host}, port {port}, within {CONNECT:g} s: {error.strerror or error}. {WAYS}") from error


def by_value(*parts: Any) -> None:
    """Parts of the user's own travel whole: no node needs the file they stand in. What is installed is installed on every node."""
    from ray import cloudpickle

    for part in parts:
        inner = [getattr(part, seam) for seam in ("sampler", "environment", "curriculum", "feed") if hasattr(part, seam)]
        for one in (part, *inner):
            module = sys.modules.get(type(one).__module__)
            file = getattr(module, "__file__", None) or "site-packages"
            here = {"strop", *sys.stdlib_module_names} - {"__main__"}
            if module is not None and module.__name__.partition(".")[0] not in here and "site-packages" not in file:
                cloudpickle.register_pickle_by_value(module)
    if (own := sys.modules.get(MODULE)) is not None:
        cloudpickle.register_pickle_by_value(own)
