"""Cluster: engines and worlds as Ray actors, on this machine or on many; the driver runs the same `train.step`.

    terms.py     how many of each, and how long who waits for whom
    replica.py   one actor: a policy's copy, an engine of any name, and whole tasks growing beside it
    worlds.py    actors that answer for the world, each answer with a deadline
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
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from strop.cluster.terms import ClusterError, Terms
from strop.seams.part import nearest

if TYPE_CHECKING:
    from strop.cluster.front import Front
    from strop.method import Method
    from strop.recipe import Recipe
    from strop.seams.learner import Learner

MEGABYTES = 200
"""Object store of a cluster that strop starts itself: it holds one copy of the weights and the groups on their way."""


CONNECT = 10.0
"""Seconds to reach a cluster's address."""
WAYS = "--cluster local starts a cluster on this machine; `ray start --head` starts one that --cluster auto finds."
TOKEN = "Does the cluster ask for a token, as Ray's own do by default? Then set RAY_AUTH_MODE=token, and its RAY_AUTH_TOKEN."


class Cluster(Terms):
    """Where engine and learner of a run come from."""

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
