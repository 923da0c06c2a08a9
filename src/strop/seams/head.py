"""Head: a further number that the actor gives beside its decisions, declared by what it maps; each policy builds it.

    Head("value")                              one number per decision: `value_T`, and `old_value_T` before the update
    Head("logz", per="prompt", net="mlp")      one number per prompt: `logz_R`, the same for all rollouts of a task

A language model maps hidden states: a decision's own, or the mean over the prompt's tokens. A table has none and keeps a number for
each place or task. A head is trained, clipped and saved with the policy; the reference and what is exported have none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn


@dataclass(frozen=True)
class Head:
    name: str
    """Parts read it as `NAME_T` or, one per prompt, `NAME_R`."""
    per: Literal["decision", "prompt"] = "decision"
    """What it gives one number per."""
    net: Literal["linear", "mlp"] = "linear"
    """`linear` starts at zero, so nothing is predicted before it learns. `mlp` is two hidden layers as wide as its input, each with GELU
    and LayerNorm, and starts at random from the run's seed."""
    step: float = 1.0
    """Its learning rate, as a multiple of the update's."""

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"Head({self.name!r}): its name becomes a track's, so it is a word like 'value'")
        for field, known in (("per", ("decision", "prompt")), ("net", ("linear", "mlp"))):
            if getattr(self, field) not in known:
                raise ValueError(f"Head({self.name!r}, {field}={getattr(self, field)!r}): {field} is {' or '.join(known)}")
        if not self.step >= 0:
            raise ValueError(f"Head({self.name!r}, step={self.step}): a learning rate's multiple is at least 0")

    @property
    def track(self) -> str:
        """What parts read it by."""
        return self.name + ("_T" if self.per == "decision" else "_R")

    @property
    def old_track(self) -> str:
        """The same under the weights that start the update; only decisions have one, since credit works on them."""
        return f"old_{self.track}" if self.per == "decision" else ""

    def built(self, width: int) -> nn.Module:
        """From states of this width to one number."""
        if self.net == "mlp":
            layers = [layer for _ in range(2) for layer in (nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))]
            return nn.Sequential(*layers, nn.Linear(width, 1))
        head = nn.Linear(width, 1)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        return head

    def says(self) -> str:
        """As `explain` prints it."""
        of = "a decision's hidden state" if self.per == "decision" else "the mean hidden state of the tokens before the first decision"
        net = "linear, zero at first" if self.net == "linear" else "three layers with GELU and LayerNorm"
        return f"{self.track}: one number per {self.per}, from {of}; {net}; learning rate lr * {self.step:g}"


value = Head("value")
"""PPO's: what a decision's place is worth."""
KNOWN = {
    **dict.fromkeys((value.track, value.old_track, "return_T"), "Head('value')"),
    "logz_R": "Head('logz', per='prompt', net='mlp')",
}
"""What parts of strop read, and the head that gives it."""
