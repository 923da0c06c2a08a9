"""What driver, replicas and ranks agree on before any of them is there: how many, how long each waits, and how a user's parts travel."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from strop.own import PACKAGE

if TYPE_CHECKING:
    from strop.seams.source import Source


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
    """A world answers one action."""
    patience: float = 8.0
    """A task that takes longer than this, and three times longer than others took, is asked of an idle replica as well."""


@dataclass(frozen=True)
class Terms:
    """Where replicas live, and how many."""

    address: str
    """`local` starts Ray on this machine; `auto` finds the one that runs here; `ray://HOST:PORT` or `HOST:PORT` is one elsewhere."""
    replicas: int | None = None
    """None: one for each GPU of the cluster, or for each CPU where it has none."""
    workers: int | None = None
    """Processes that answer for the world; None: one beside each replica, where there is a world."""
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
    for name in [name for name in sys.modules if name.startswith(PACKAGE) and "." not in name]:  # with all that stands in it
        cloudpickle.register_pickle_by_value(sys.modules[name])
