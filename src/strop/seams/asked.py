"""Asked, Trained: policies beside the actor, which samplers, graders and feeds ask as they ask it: `ctx.policies["judge"]` is a handle.

    Method.policies = {"judge": Asked("runs/judge")}                   asked, and it stays as it is
    Method.policies = {"guesser": Trained(AdamW(lr=1e-5))}             asked, and a role's groups train it:
    Method.roles = {"guess": Role(policy="guesser")}

Where weights come from: `initial`, those that the run begins with; `stage:NAME`, what an earlier stage of the program left; `pico`,
or the directory of a model or a run; of one that is asked alone also `remote:URL:MODEL`, a server that gives text. `RUN:NAME` and
`stage:NAME:NAME` are what a policy beside the actor became there. What it computes is on the bill as `judge/decoded` and so on.

The loss is the method's for all that are trained; each has a learner, an optimiser and a checkpoint of its own. A group trains its role's
policy, and of its rows what that policy wrote: what another one wrote there is an observation. A sampler takes the room that it needs of
another policy's engine itself: `async with ctx.policies["guesser"].engine.admit(…)`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from strop.seams.update import AdamW, Update

INITIAL, STAGE, REMOTE = "initial", "stage:", "remote:"


@dataclass(frozen=True)
class Asked:
    """A policy that is asked and stays as it is."""

    start: str = INITIAL
    """initial, stage:NAME, a directory, or remote:URL:MODEL."""

    def __post_init__(self) -> None:
        if not self.start or self.start in (STAGE, REMOTE):
            raise ValueError(f"Asked({self.start!r}): initial, stage:NAME, the directory of a model or run, or remote:URL:MODEL")
        if self.start.startswith(REMOTE) and re.match(r"//|[0-9]+(/|,|$)|$", self.start.rpartition(":")[2]):
            raise ValueError(f"Asked({self.start!r}) names no model behind its address: remote:http://HOST:8000/v1:MODEL")


@dataclass(frozen=True)
class Trained:
    """A policy that is trained beside the actor, by the groups of the roles that name it."""

    update: AdamW | None = None
    """How it moves; None: as the actor does, by the recipe's learning rate too."""
    start: str = INITIAL
    """initial, stage:NAME, pico, or a directory. Where it was trained in an earlier stage, a later one goes on from there."""

    def __post_init__(self) -> None:
        if self.update is not None and not isinstance(self.update, AdamW):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"Trained({self.update!r}): its update is AdamW(…); a policy that never moves is Asked(start)")
        if not self.start or self.start == STAGE or self.start.startswith(REMOTE):
            raise ValueError(f"Trained(start={self.start!r}): initial, stage:NAME, or the directory of a model or run")

    def moves(self, actor: Update) -> Update:
        """Its update, where the actor's is this."""
        return self.update or actor


def named(texts: list[str]) -> dict[str, Asked]:
    """`--policy NAME=WHERE`, any number of them."""
    found: dict[str, Asked] = {}
    for text in texts:
        name, equals, where = text.partition("=")
        if not equals or not name.isidentifier() or name == "actor" or name in found:
            raise ValueError(f"--policy {text!r}: written NAME=MODEL_OR_RUN, each name once and none of them actor")
        found[name] = Asked(where)
    return found
