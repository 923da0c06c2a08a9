"""Asked: another policy beside the actor, which samplers, graders and feeds ask, and which nobody trains.

    Method.policies = {"judge": Asked("runs/judge")}      then ctx.policies["judge"] is a handle, as ctx.policies["actor"] is

Where its weights come from: `initial`, those that the run begins with; `stage:NAME`, what an earlier stage of the program left; `pico`, or
the directory of a model or a run; `remote:URL:MODEL`, a server that is asked for text alone. What it computes is on the bill as
`judge/decoded` and so on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

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


def named(texts: list[str]) -> dict[str, Asked]:
    """`--policy NAME=WHERE`, any number of them."""
    found: dict[str, Asked] = {}
    for text in texts:
        name, equals, where = text.partition("=")
        if not equals or not name.isidentifier() or name == "actor" or name in found:
            raise ValueError(f"--policy {text!r}: written NAME=MODEL_OR_RUN, each name once and none of them actor")
        found[name] = Asked(where)
    return found
