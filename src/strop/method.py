"""Method: a frozen record of parts. One paper, one file, one fingerprint.

    DAPO = GRPO.but("dapo", idea=("gate", "signals.policy"), …)     a child: its idea is the paper, the rest is its setting
    DAPO.only("gate")                                               a part of that idea, on the same root
    GSPO + DAPO.only("gate")                                        GSPO, and that idea: a method of its own
    saved.load(DAPO.to_json()) == DAPO

`strop.identity` prints and compares methods.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, cast

from strop.records import Group
from strop.seams.asked import Asked, Trained
from strop.seams.compute import EXACT, Compute, Quantized
from strop.seams.correction import none, truncated
from strop.seams.curriculum import Curriculum, Epochs
from strop.seams.feed import Feed, Rollouts
from strop.seams.gate import Gate, WholeGate, is_whole
from strop.seams.grader import judges_frozen
from strop.seams.head import Head
from strop.seams.memory import Memory
from strop.seams.part import Part, added, describe, fingerprint, nearest, unused, written
from strop.seams.recorded import PAIR
from strop.seams.reward import outcome
from strop.seams.role import PAIRED, Role
from strop.seams.sampler import Independent, Sampler
from strop.seams.signal import Signal
from strop.seams.update import AdamW, Update
from strop.seams.world import World
from strop.sense import refuse

SAID = ("name", "paper", "idea", "parent", "notes", "pico_lr")
"""What a method says of itself; it changes no number that a recipe leaves open."""
SETTING = ("sampler", "environment", "feed", "curriculum", "update", "tasks", "heads", "reference", "compute")
"""Seams that are a method's set-up unless its `idea` names them."""


@dataclass(frozen=True)
class Method:
    """What is trained, by whom, on what, and how: every part and constant that can change a number."""

    name: str
    """Known by it; a variant gets one of its own, `GRPO.but("mine", …)`."""
    signals: Mapping[str, Signal]
    """The loss: signals by name, which add."""
    credit: tuple[Part, ...]
    """A chain, from rewards to what each decision earns."""
    sampler: Sampler = Independent()
    """Grows the rollouts of a task."""
    environment: World | None = None
    """The world that answers between turns."""
    feed: Feed = Rollouts()
    """Supplies groups to a step."""
    curriculum: Curriculum = Epochs()
    """Picks the next tasks."""
    marks: tuple[Part, ...] = added(())
    """What is read off a finished reply: labels and stretches."""
    graders: tuple[Part, ...] = added(())
    """Scores of the method's own, beside the source's verdict: a channel each."""
    reward: Part = outcome
    """From channels to one number per rollout."""
    gate: tuple[Gate | WholeGate, ...] = ()
    """Which rollouts count, in the order written."""
    correction: Part = none
    """From the engine's log-probability to the learner's."""
    update: Update = AdamW()
    """Optimiser, epochs, minibatches, clipping, schedule; or `Still()`."""
    tasks: int = 32
    """Tasks asked for in one step."""
    heads: tuple[Head, ...] = ()
    """Numbers the actor gives beside its decisions."""
    reference: bool = False
    """Keep the initial weights frozen beside the actor, for parts that read `reference_logp_T`."""
    compute: Compute = added(EXACT)  # noqa: RUF009
    """What the engine draws with, where the learner computes otherwise."""
    roles: Mapping[str, Role] = added({})
    """Groups of other roles than `solve`, by role: their reward and gates, and whom they train."""
    policies: Mapping[str, Asked | Trained] = added({})
    """Policies beside the actor that samplers and graders ask, by name: `ctx.policies`. `Asked(start)` stays as it is; `Trained(update,
    start)` is trained by the groups of the roles that name it."""
    memory: Memory | None = added(None)  # noqa: RUF009
    """Cases of earlier tasks that the policy is reminded of."""
    paper: str = ""
    """Its number at arXiv."""
    idea: tuple[str, ...] = field(default=())
    """The seams that are the paper: `credit`, `gate`, `signals.policy`, `signals.policy.reduce`. What else differs from the parent is
    its setting."""
    parent: Method | None = field(default=None, compare=False, repr=False)
    """What `but` or `+` made it from."""
    notes: tuple[str, ...] = field(default=(), compare=False, repr=False)
    """What a reader should know of how it was loaded."""
    pico_lr: float | None = field(default=None, compare=False, repr=False)
    """The learning rate at which it trains the bundled model, where the one that others take there would destroy it."""

    def __post_init__(self) -> None:
        refuse(self)

    @property
    def refills(self) -> int:
        return max((gate.refill for gate in self.gate if not is_whole(gate)), default=0)

    @property
    def paired(self) -> bool:
        """Does its feed give pairs?"""
        return bool(getattr(self.feed, "paired", False))

    def role(self, name: str) -> Role:
        """How groups of a role are rewarded and kept: as the method says, or like its own."""
        return self.roles.get(name) or (PAIRED if name == PAIR else Role(self.reward, self.gate))

    def by_role(self, groups: Sequence[Group]) -> list[tuple[Role, list[Group]]]:
        """The groups that are rewarded and kept alike, in their order."""
        found: dict[str, list[Group]] = {}
        for group in groups:
            found.setdefault(self._played(group), []).append(group)
        return [(self.role(name), members) for name, members in found.items()]

    @property
    def trained(self) -> dict[str, Trained]:
        """The policies that are trained beside the actor, by name."""
        return {name: one for name, one in self.policies.items() if isinstance(one, Trained)}

    @property
    def updates(self) -> dict[str, Update]:
        """How each policy moves that is trained, the actor first."""
        return {"actor": self.update, **{name: one.moves(self.update) for name, one in self.trained.items()}}

    def trains(self, group: Group) -> str:
        """The policy that a group trains."""
        return self.role(self._played(group)).policy

    def _played(self, group: Group) -> str:
        return group.role if group.role in (*self.roles, PAIR) else "solve"

    def needs(self, *names: str) -> bool:
        """Does some part read one of these?"""
        parts = [*self.credit, self.correction, *(s.objective for s in self.signals.values())]
        return any(name in reader.reads for reader in parts for name in names)

    def but(self, name: str = "", **changes: Any) -> Method:
        """The same method with these seams replaced; `signals` are merged by name.

        With a name it is a child, whose idea is every seam replaced unless `idea` says which; without one it is the same method in
        another setting.
        """
        known = {f.name for f in fields(self)}
        for change in changes:
            if change not in known:
                raise ValueError(f"a method has no seam {change!r}. {nearest(change, known)}")
        new = cast(Mapping[str, Signal], changes.get("signals", {}))
        if new:
            changes["signals"] = {**self.signals, **new}
        if name:
            replaced = [f"signals.{n}" for n in new]
            replaced += [seam for seam in changes if seam not in SAID and seam not in SETTING and seam != "signals"]
            changes = {"parent": self, "paper": "", "idea": tuple(replaced), **changes}
        return replace(self, name=name or self.name, **changes)

    @property
    def lineage(self) -> tuple[Method, ...]:
        """Itself, its parent, and so on to the root."""
        return (self, *(self.parent.lineage if self.parent else ()))

    def units(self, since: tuple[Method, ...] = ()) -> tuple[str, ...]:
        """What its ideas change, and its ancestors' down from `since` (from the root, if empty): whole seams, and whole signals."""
        found: dict[str, None] = {}
        for one in self.lineage:
            if one in since:
                break
            found |= {unit: None for path in one.idea for unit in _units(path, self.signals)}
        return tuple(found)

    def only(self, *units: str) -> Method:
        """This part of its ideas on its root: `DAPO.only("gate")`."""
        mine = self.units()
        if not mine:
            raise ValueError(f"{self.name!r} has no idea of its own, so nothing of it can be taken alone: name it with .but(…, idea=(…,))")
        for unit in units:
            if unit not in mine:
                raise ValueError(
                    f"the ideas of {self.name!r} are {', '.join(mine) or 'none'}; {unit!r} is not among them. {nearest(unit, mine)}"
                )
        if not units:
            raise ValueError(f"only of what? The ideas of {self.name!r} are {', '.join(mine)}: {self.name}.only({mine[0]!r})")
        return self.lineage[-1]._given(self, units, f"{self.name}.only({', '.join(units)})", self.paper)

    def __add__(self, other: Method) -> Method:
        """This method and the other's idea, each signal whole. A method of its own: it inherits neither claim.

        The other's idea is all it and its ancestors changed since the nearest ancestor that both have. Two different ideas for one unit
        are refused.
        """
        if not isinstance(other, Method):  # pyright: ignore[reportUnnecessaryIsInstance]
            return NotImplemented  # a program says why not
        theirs = other.units(self.lineage)
        mine = self.units(other.lineage)
        for unit in theirs:
            if unit in mine and describe(self._at(unit)) != describe(other._at(unit)):
                left, kept = ([u for u in units if u != unit] for units in (theirs, mine))
                ways = [f"{self.name} + {other.name}.only({', '.join(left)})"] if left else []
                ways += [f"{self.name}.only({', '.join(kept)}) + {other.name}"] if kept else []
                ways += [f"a {unit} of your own, with .but({unit.partition('.')[0]}=…)"]
                raise ValueError(
                    f"{self.name} + {other.name}: both have an idea for {unit}, and the two differ: {_short(self._at(unit))}, and "
                    f"{_short(other._at(unit))}. Choose: {'; or '.join(ways)}."
                )
        if not theirs:
            raise ValueError(f"{self.name} + {other.name}: {other.name} has no idea that {self.name} lacks, so there is nothing to add")
        papers = " + ".join(dict.fromkeys(paper for paper in (self.paper, other.paper) if paper))
        return self._given(other, theirs, f"{self.name} + {other.name}", papers)

    def _at(self, unit: str) -> Any:
        seam, _, name = unit.partition(".")
        return self.signals.get(name) if name else getattr(self, seam)

    def _given(self, other: Method, units: tuple[str, ...], name: str, paper: str) -> Method:
        """This method with these units of the other's, and the reference and heads that they read."""
        changes: dict[str, Any] = {u: other._at(u) for u in units if "." not in u}
        signals = {u.partition(".")[2]: other._at(u) for u in units if "." in u}
        added: list[Part] = [*changes.get("credit", ()), *(s.objective for s in signals.values())]
        added += [changes["correction"]] if "correction" in changes else []
        read = {track for each in added for track in each.reads}
        if "reference_logp_T" in read or any(judges_frozen(grader) for grader in changes.get("graders", ())):
            changes["reference"] = True
        if brought := [head for head in other.heads if read & {head.track, head.old_track}]:
            changes["heads"] = tuple(dict.fromkeys((*self.heads, *brought)))
        rates = [one.pico_lr for one in (self, other) if one.pico_lr is not None]
        changes["pico_lr"] = min(rates, default=None)
        return self.but(name, idea=units, paper=paper, **changes, **({"signals": signals} if signals else {}))

    def to_json(self) -> dict[str, Any]:
        """Plain data that says everything, constants written out; `strop.saved.load` gives it back equal."""
        lineage = self.parent.to_json() if self.parent else None
        said = {"name": self.name, "paper": self.paper, "idea": list(self.idea), "parent": lineage}
        return said | ({} if self.pico_lr is None else {"pico_lr": self.pico_lr}) | {"parts": self.describe()}

    def __hash__(self) -> int:
        return hash((self.name, self.fingerprint))

    def off_policy(self) -> Method:
        """This method on rollouts that another learner drew: where nothing corrects for that, truncated importance weights do.

        Its name says so. An objective that takes its ratio to `sampled_logp` bridges by itself. A sampler that only rounds is so near that
        a rollout's whole ratio is seldom cut; weights per token would leave half of its skew (docs/lab.md).
        """
        if self.correction != none or any("sampled_logp_T" in s.objective.reads for s in self.signals.values()):
            return self
        if isinstance(self.compute, Quantized):
            return self.but(f"{self.name}-bridged", correction=truncated(cap=2.0, level="sequence"))
        return self.but(f"{self.name}-truncated", correction=truncated(cap=2.0))

    def describe(self) -> dict[str, Any]:
        """Plain JSON of everything that can change a number; the name, paper, ideas and lineage are not among it."""
        return {f.name: describe(getattr(self, f.name)) for f in fields(self) if f.name not in SAID and not unused(f, self)}

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.describe())


def _short(unit: Any) -> str:
    return f"{written(unit.objective)}, {written(unit.reduce)}" if isinstance(unit, Signal) else written(unit)


def _units(path: str, signals: Iterable[str]) -> list[str]:
    """`signals.policy.reduce` belongs to `signals.policy`, `update.lr` to `update`; `signals` is all of them."""
    if path == "signals":
        return [f"signals.{name}" for name in signals]
    return [".".join(path.split(".")[: 2 if path.startswith("signals.") else 1])]
