"""Exchange: other trainers, as a feed sees them. `strop.swarm` is the one there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from strop.records import Group, Scores

if TYPE_CHECKING:
    from strop.seams.context import Ctx, Renderer
    from strop.seams.sampler import Sampler
    from strop.seams.source import Source

FOREIGN = "foreign"
"""The role of a group that another trainer sampled: it counts in no curve, ledger or curriculum of ours."""


@dataclass(frozen=True)
class Offer:
    """A foreign group as it was rebuilt and graded here."""

    group: Group
    outcomes: tuple[float, ...]
    """Our own verifier's verdicts, one per rollout."""

    @property
    def informative(self) -> bool:
        return max(self.outcomes) > min(self.outcomes)


class Exchange(Protocol):
    """Where a trainer's groups go and others' come from."""

    async def offered(self, ctx: Ctx, sampler: Sampler, keep: int) -> list[Offer]:
        """Everything that waits, in order of arrival; what has waited for more than `keep` of our steps is gone."""
        ...

    def settle(self, drawn: Sequence[Offer], flat: Sequence[Offer]) -> None:
        """What was drawn, and what never will be: neither waits any longer."""
        ...

    def publish(self, groups: Sequence[Group], scores: Scores, step: int, source: Source, renderer: Renderer) -> None:
        """Our own graded groups, to be sent at `flush`: when they are committed."""
        ...

    def flush(self) -> None: ...

    def tally(self) -> dict[str, Any]:
        """What was counted since the run began, as plain data: it stands in each commit and on each metrics line."""
        ...
