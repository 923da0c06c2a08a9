"""The bill: positions that policies computed, by what they were computed for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from strop.seams.engine import Engine


class Bill:
    """What a run has spent up to its last commit, and what it owes since."""

    def __init__(self, engine: Engine, others: Mapping[str, Engine] | None = None):
        self.engines = {"": engine, **{f"{name}/": other for name, other in (others or {}).items()}}
        """By what stands before their kinds: nothing for the actor's, `judge/` for another policy's."""
        self.total: dict[str, int] = {}
        """As it stands on the metrics line: the engine's kinds, `scored` by graders, `calls` of tools, `trained` and `measured` by the
        learner."""
        self.learned: Counter[str] = Counter()
        """The learner's part, which is a function of commits and weights: it is no commit's, and computed again on resume."""
        self.scored: Counter[str] = Counter()
        """What graders asked of policies since the last commit, and the calls of tools."""
        self._kept: Counter[str] = Counter()
        """What the engine wrote for rollouts before `forget` was called."""
        self._seen: dict[str, int] = {}

    def commit(self) -> None:
        """Everything since the last commit goes on it."""
        spent = self._kept + Counter(self._since()) + self.scored
        before = {name: count for name, count in self.total.items() if name not in self.learned}
        names = dict.fromkeys([*self._counted(), *self.scored])
        self.total = before | {name: before.get(name, 0) + spent[name] for name in names}
        self._kept, self.scored = Counter(), Counter()

    def learn(self, positions: int, before: str = "") -> None:
        """So many positions were trained, of the policy whose kinds begin so."""
        self.learned[f"{before}trained"] += positions
        self.total |= self.learned

    def forget(self, *kinds: str) -> None:
        """Evaluation is not training: what it costs stays off the bill. With `kinds` only those positions do: the rest was rollouts."""
        self._kept.update({name: count for name, count in self._since().items() if kinds and name not in kinds})

    def restore(self, total: Mapping[str, int], learned: Mapping[str, int] | None = None) -> None:
        """As a commit or a checkpoint left it; only a checkpoint knows the learner's part."""
        self.total = dict(total)
        if learned is not None:
            self.learned = Counter(learned)

    def spent(self, unit: str = "positions") -> int:
        return spend(self.total, unit)

    def _since(self) -> dict[str, int]:
        now = self._counted()
        last, self._seen = self._seen, now
        return {name: value - last.get(name, 0) for name, value in now.items()}

    def _counted(self) -> dict[str, int]:
        return {before + kind: count for before, engine in self.engines.items() for kind, count in engine.counters.to_json().items()}


def spend(bill: Mapping[str, int], unit: str = "positions") -> int:
    """What a bill comes to in one unit: `decoded`, `trained`, `calls`, …, or all positions that some policy computed."""
    return sum(count for name, count in bill.items() if computed(name)) if unit == "positions" else bill.get(unit, 0)


def computed(kind: str) -> bool:
    """Whether it counts positions that a policy computed: those that were only moved are no work of one, and calls of tools no
    positions."""
    return kind.rpartition("/")[2] not in ("copied", "calls")
