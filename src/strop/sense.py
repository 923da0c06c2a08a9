"""What a method may not be: every refusal when one is built, in words that say the way out; and what is legal yet worth knowing."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from math import inf
from typing import TYPE_CHECKING, Any, NoReturn

from strop.records import Sampling
from strop.seams.asked import Asked, Trained
from strop.seams.compute import Exact, Quantized
from strop.seams.curriculum import Curriculum
from strop.seams.episode import Episodes, Played
from strop.seams.feed import Feed
from strop.seams.formula import RESERVED, UNITS, check
from strop.seams.gate import is_whole
from strop.seams.grader import SCORERS, judges_frozen, spans_of
from strop.seams.head import KNOWN, Head
from strop.seams.mark import channel, is_label, name_of
from strop.seams.part import Part, nearest, written
from strop.seams.role import Role
from strop.seams.sampler import Independent, Sampler
from strop.seams.signal import Signal
from strop.seams.update import AdamW, Still, Update
from strop.seams.world import World

if TYPE_CHECKING:
    from strop.method import Method

TRACKS = frozenset({"old_logp_T", "sampled_logp_T", "age_T"})
"""What every run can provide per decision, before anything is settled."""
SIGHT = frozenset({"fraction", "step", "length_R", "index"})
"""What a reward may read beside channels; `index` is of its group's graded rollouts."""
FACTS = frozenset({"reward_R", "truncated_R", "length_R", "index"})
"""What every run can provide per rollout, and the index."""
NESTED = "nested_RD"
"""Sub-groups of each rollout: only some samplers form any."""
CHOSEN = "chosen_R"
"""Which text of a pair is the better one: only some feeds give pairs."""
MOVING = frozenset({"logp_T", "entropy_T"})
"""Tracks of the policy as it moves, and its heads': an objective may read them, a credit or a correction may not."""
MARKED = ("text",)
"""What a mark reads."""
JUDGED = ("groups", "ctx")
"""What a grader reads."""
PROGRESS = ("fraction",)
"""What a schedule reads."""


def refuse(method: Method) -> None:
    _kinds(method)
    _parts(method)
    _gates(method)
    _policies(method)
    _sampler(method)
    _compute(method)
    _known(method)
    _rewards(method)
    _marks(method)
    _graders(method)
    _formulas(method)
    _pairs(method)
    _counts(method)
    _foreign(method)
    _ratios(method)
    _clips(method)


PROTOCOLS: dict[str, type] = {"sampler": Sampler, "environment": World, "feed": Feed, "curriculum": Curriculum}
"""Seams at which whatever has these members may stand."""
RECORDS: dict[str, tuple[tuple[type, ...], str]] = {
    "name": ((str,), "a text"),
    "tasks": ((int,), "a whole number"),
    "reference": ((bool,), "True or False"),
    "marks": ((tuple,), "a tuple of parts"),
    "graders": ((tuple,), "a tuple of parts"),
    "gate": ((tuple,), "a tuple of gates"),
    "heads": ((tuple,), "a tuple of heads"),
    "signals": ((Mapping,), "a dict of signals by name"),
    "roles": ((Mapping,), "a dict of roles by name"),
    "policies": ((Mapping,), "a dict of policies by name"),
    "update": ((AdamW, Still), "AdamW(…) or Still()"),
    "compute": ((Exact, Quantized), "EXACT or Quantized(…)"),
}
"""What stands at the others, and how it is said; parts are looked at one by one."""


def _kinds(method: Method) -> None:
    """What stands at a seam is of its kind, and made: a class is none yet."""

    def no(seam: str, value: Any, needs: str) -> NoReturn:
        made = f". That is a class: make one, {value.__name__}(…)" if isinstance(value, type) else ""
        raise ValueError(f"method {method.name!r}: its {seam} is {needs}, got {value!r}{made}")

    for seam, (kinds, needs) in RECORDS.items():
        value = getattr(method, seam)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            no(seam, value, needs)
    for seam, protocol in PROTOCOLS.items():
        value = getattr(method, seam)
        wanted = [name for name in vars(protocol) if not name.startswith("_") or name == "__call__"]
        lacks = [name for name in wanted if not hasattr(value, name)]
        if isinstance(value, type) or (lacks and not (seam == "environment" and value is None)):
            no(seam, value, f"something with {' and '.join(wanted)}")
    for i, gate in enumerate(method.gate):
        if isinstance(gate, type) or not callable(gate) or not (is_whole(gate) or hasattr(gate, "refill")):
            no(f"gate[{i}]", gate, "something that is called with (group, seen) and has `refill`, or `whole = True`")
    for name, signal in method.signals.items():
        if not isinstance(signal, Signal):  # pyright: ignore[reportUnnecessaryIsInstance]
            no(f"signals[{name!r}]", signal, "Signal(objective, …)")
    for name, role in method.roles.items():
        if not isinstance(role, Role):  # pyright: ignore[reportUnnecessaryIsInstance]
            no(f"roles[{name!r}]", role, "Role(…)")


def _parts(method: Method) -> None:
    """It can be written down: parts, records, numbers and words, under names that can stand in a formula."""
    if not isinstance(method.credit, tuple):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"method {method.name!r}: its credit is a chain of parts, credit=({method.credit!r},), got {method.credit!r}")
    for seam, reader in (
        ("reward", method.reward),
        ("correction", method.correction),
        *((f"marks[{i}]", m) for i, m in enumerate(method.marks)),
        *((f"graders[{i}]", g) for i, g in enumerate(method.graders)),
        *((f"credit[{i}]", c) for i, c in enumerate(method.credit)),
    ):
        if not isinstance(reader, Part):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"method {method.name!r}: {seam} is a part, got {reader!r}: put @part(…) on a function at module level")
    for head in method.heads:
        if not isinstance(head, Head):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"method {method.name!r}: a head is a record, Head({head!r}), got the bare {head!r}")
    if len({head.name for head in method.heads}) < len(method.heads):
        raise ValueError(f"method {method.name!r}: two heads have one name: {[head.name for head in method.heads]}")
    try:
        method.describe()
    except ValueError as error:
        raise ValueError(f"method {method.name!r}: {error}. A function goes in as a part: @part(…) at module level.") from error
    for name in method.signals:
        if not name.isidentifier() or name in RESERVED:
            raise ValueError(
                f"method {method.name!r}: a signal cannot be called {name!r}, since its name stands in the formula of the loss"
            )
    known = {f.name for f in fields(method)}
    for path in method.idea:
        seam, _, rest = path.partition(".")
        if seam not in known or (seam == "signals" and rest and rest.partition(".")[0] not in method.signals):
            raise ValueError(f"method {method.name!r}: its idea names {path!r}, which it does not have. {nearest(seam, known)}")


def _gates(method: Method) -> None:
    """Gates run in the order written, so what looks at one group stands before what looks at all of them."""
    whole: list[bool] = [is_whole(gate) for gate in method.gate]
    if whole != sorted(whole):
        first = whole.index(True)
        late = whole.index(False, first)
        raise ValueError(
            f"method {method.name!r}: gate[{late}] {written(method.gate[late])} looks at one group, and stands behind "
            f"{written(method.gate[first])}, which looks at the whole step once the others are done. Write it first."
        )

    for i, gate in enumerate(method.gate):
        if (fewest := getattr(gate, "fewest", 1)) > method.sampler.group_size:
            raise ValueError(
                f"method {method.name!r}: gate[{i}] {written(gate)} drops a group of fewer than {fewest} rollouts, and its sampler gives "
                f"{method.sampler.group_size}: nothing would be trained. Raise the sampler's n (--group), or let the gate keep fewer."
            )


def _policies(method: Method) -> None:
    """Each has a name of its own, whoever asks for one finds it, and whoever is trained has groups that train it."""
    for name, other in method.policies.items():
        if name in ("actor", "reference") or not name.isidentifier():
            raise ValueError(f"method {method.name!r}: a policy beside the actor cannot be called {name!r}. Name it otherwise.")
        if not isinstance(other, Asked | Trained):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"method {method.name!r}: policies[{name!r}] is Asked(start) or Trained(update, start), got {other!r}")
    asking: dict[str, str] = {f"environment.asks[{i}]": name for i, name in enumerate(getattr(method.environment, "asks", ()))}
    asking |= {"sampler": asks(method.sampler), **{f"graders[{i}]": asks(g) for i, g in enumerate(method.graders)}}
    for seam, name in asking.items():
        if name not in ("", "actor", *method.policies):
            raise ValueError(
                f"method {method.name!r}: its {seam} asks the policy {name!r}, which it does not have. "
                f"{nearest(name, ('actor', *method.policies))} Name it: policies={{{name!r}: Asked(…)}}."
            )
    for role, one in method.roles.items():
        if one.policy not in ("actor", *method.trained):
            asked = one.policy in method.policies
            raise ValueError(
                f"method {method.name!r}: groups of role {role!r} train the policy {one.policy!r}, which "
                + ("is asked and stays as it is" if asked else f"it does not have. {nearest(one.policy, ('actor', *method.trained))}")
                + f" Train it: policies={{{one.policy!r}: Trained(…)}}."
            )
    for name in method.trained:
        if all(one.policy != name for one in method.roles.values()):
            raise ValueError(
                f"method {method.name!r}: no group trains the policy {name!r}. Name it in a role, roles={{…: Role(policy={name!r})}}, or "
                f"leave it as it is: policies={{{name!r}: Asked(…)}}."
            )
    if method.trained and (getattr(method.feed, "ahead", 0) or hasattr(method.feed, "foreign")):
        beside = "tasks ahead of the learner" if getattr(method.feed, "ahead", 0) else "groups of other trainers"
        raise ValueError(
            f"method {method.name!r}: its feed gives {beside}, which several trained policies cannot learn from yet. Use feed=Rollouts()."
        )


def called(method: Method, world: World | None) -> None:
    """Who has episodes has a world, and in one with tools somebody reads what is called."""
    sampler, tools = method.sampler, getattr(world, "tools", ())
    if world is None and isinstance(sampler, Episodes | Played):
        raise ValueError(
            f"method {method.name!r}: its sampler {type(sampler).__name__} plays episodes, and nothing answers in them. Choose a task that "
            "brings its world (`strop world list`: --task wiki), or give the method environment=…"
        )
    for name in getattr(world, "asks", ()):
        if name not in ("actor", *method.policies):
            raise ValueError(
                f"method {method.name!r}: {type(world).__name__} asks the policy {name!r}, which it does not have. Say whom: "
                f"--policy {name}=MODEL_OR_RUN, or policies={{{name!r}: Asked(…)}}."
            )
    if world is not None and getattr(sampler, "own_world", False):
        raise ValueError(
            f"method {method.name!r}: its sampler {type(sampler).__name__} brings what answers in its rollouts, and "
            f"{type(world).__name__} would answer nobody. Choose a task without a world."
        )
    if tools and isinstance(sampler, Independent | Episodes) and getattr(sampler, "calls", None) is None:
        names = "its tasks' tools" if callable(tools) else ", ".join(tool.name for tool in tools)
        raise ValueError(
            f"method {method.name!r}: {type(world).__name__} answers to calls of {names}, and its sampler "
            f"{type(sampler).__name__} reads none. Say --turns 8 --calls hermes, write sampler=Episodes(turns=…, calls=Line()), or take a "
            "method that has one, as --method resum has (docs/worlds.md)."
        )


def together(method: Method, *, here: bool) -> None:
    """Policies that are trained beside the actor write and learn in this process, as the actor then does too: is it `here`? So is what a
    memory reads."""
    if method.memory is not None and (not here or getattr(method.feed, "ahead", 0) or hasattr(method.feed, "foreign")):
        raise ValueError(
            f"method {method.name!r} has a memory, which is read here, step by step: tasks that grow elsewhere, ahead of the learner or "
            "with other trainers are not shown its cases yet. Train in one process, without --cluster, --ahead and --swarm."
        )
    if method.trained and not here:
        raise ValueError(
            f"method {method.name!r} trains {' and '.join(('the actor', *method.trained))}, and here an engine or a learner is in other "
            "processes: that is not built yet for more than one policy. Train them in one, without --cluster, torchrun and --engine."
        )


def asks(part: Any) -> str:
    """Which policy it asks, by its field or constant `policy`, or a grader's `judge`; empty where it has none."""
    held = [part.constants.get(name) for name in ("policy", "judge")] if isinstance(part, Part) else [getattr(part, "policy", "")]
    return next((name for name in held if isinstance(name, str)), "")


def _sampler(method: Method) -> None:
    """What it draws can be learned from."""
    if getattr(method.sampler, "evaluates", False):
        raise ValueError(
            f"method {method.name!r}: {written(method.sampler)} is a way to evaluate: of a rollout's rows one holds the reply, and "
            "training would pay the others for it. Train with Independent(), and ask so with strop eval --sampler."
        )
    drawn = getattr(method.sampler, "sampling", None)
    if isinstance(drawn, Sampling) and not drawn.whole:
        raise ValueError(
            f"method {method.name!r}: training on {drawn} would need the support of every step: top_p below 1, top_k and greedy decoding "
            "are for evaluation. Train with top_p=1, top_k=0 and a temperature above 0."
        )


def channels(method: Method) -> set[str]:
    """The channels that every source, and the method's own marks, graders and sampler give."""
    own = {*(channel(mark) for mark in method.marks), *(grader.gives for grader in method.graders), *getattr(method.sampler, "grades", ())}
    return {"outcome", "lenient"} | own


def channels_read(method: Method, roles: bool = True) -> set[str]:
    """The channels that its reward, its credit and its gates read, and those of its roles."""
    return {name for who, name in _readers(method) if roles or not who.startswith("roles.")}


def _readers(method: Method) -> list[tuple[str, str]]:
    """(who, channel) of each. A method that learns from pairs asks no verdict."""
    if method.paired:
        return [(f"credit {link.name!r}", name) for link in method.credit for name in _channels_of(link)]
    found = [(f"reward {method.reward.name!r}", name) for name in _channels_of(method.reward)]
    found += [(f"credit {link.name!r}", name) for link in method.credit for name in _channels_of(link)]
    found += [(f"gate {written(gate)}", name) for gate in method.gate for name in getattr(gate, "channels", ())]
    for role, one in method.roles.items():
        found += [(f"roles.{role}.reward {one.reward.name!r}", name) for name in _channels_of(one.reward)]
        found += [(f"roles.{role}.gate {written(gate)}", name) for gate in one.gate for name in getattr(gate, "channels", ())]
    return found


def _channels_of(part: Part) -> list[str]:
    return [name[:-2] for name in part.reads if name.endswith("_R") and name not in FACTS | {"credit_R"}]


def graded(method: Method, given: Iterable[str]) -> None:
    """Refuse a channel that is read and that neither the task's source, which gives these, nor a mark or grader of the method's gives."""
    have = {*given, *(channel(mark) for mark in method.marks), *(grader.gives for grader in method.graders)}
    for reader, name in _readers(method):
        if name not in have:
            raise ValueError(
                f"method {method.name!r}: its {reader} reads the channel {name!r}, which nobody grades here. What is graded: "
                f"{', '.join(sorted(have))}. Choose a task whose source gives it (`strop tasks`)."
            )


def _compute(method: Method) -> None:
    if not isinstance(method.compute, Exact | Quantized):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(
            f"method {method.name!r}: compute says what the engine draws with, Exact() or Quantized(…), got {method.compute!r}"
        )


def _formulas(method: Method) -> None:
    """What each part prints is in the language, reads what the part reads and gives what it gives."""
    parts = [("reward", method.reward, "reward_R"), ("correction", method.correction, "weight_T,mask_T")]
    parts += [(f"credit[{i}]", link, link.gives) for i, link in enumerate(method.credit)]
    for name, signal in method.signals.items():
        parts.append((f"signals.{name}", signal.objective, f"loss_{UNITS[signal.objective.grain]}"))
        if isinstance(signal.weight, Part):
            parts.append((f"the weight of signals.{name}", signal.weight, "factor"))
        if signal.running is not None:
            parts.append((f"signals.{name}.running", signal.running, "value_R"))
    parts += [(f"roles.{role}.reward", one.reward, "reward_R") for role, one in method.roles.items()]
    parts += [(f"the schedule of {seam}", update.schedule, "factor") for seam, update in _updates(method)]
    for seam, part, gives in parts:
        if part.formula:
            try:
                check(part.says(), part.reads, gives.split(","))
            except ValueError as error:
                raise ValueError(f"method {method.name!r}: {seam} {part.name!r}: {error}") from error


def seats(method: Method) -> Iterator[tuple[str, Part, frozenset[str]]]:
    """Every part that is called on a batch, in the order of a step, with what stands ready for it."""
    facts = FACTS | ({NESTED} if getattr(method.sampler, "nested", False) else set[str]())
    ready = TRACKS | facts | {head.old_track for head in method.heads if head.old_track}
    ready |= {"reference_logp_T"} if method.reference else set[str]()
    yield "correction", method.correction, ready | {"trained_T"}
    ready |= {"weight_T", "reward_T", "fraction", *(f"{name}_R" for name in channels(method))}
    ready |= {f"{grader.gives}_T" for grader in method.graders if spans_of(grader)}
    for i, link in enumerate(method.credit):
        own = {name for name in link.reads if name.endswith("_R") and name != "credit_R" and not close(name, ready | MOVING)}
        yield f"credit[{i}]", link, ready | own | {"trained_T"}
        given = set(link.gives.split(","))
        ready |= given | ({"credit_T"} if given & {"credit_R", "credit_W"} else set[str]())
    ready = frozenset(name for name in ready if name.endswith("_T") or name in facts)
    ready |= {CHOSEN} if method.paired else set[str]()
    moving = ready | MOVING | {head.track for head in method.heads}
    for name, signal in method.signals.items():
        if signal.running is not None:
            yield f"signals.{name}.running", signal.running, ready
        yield f"signals.{name}", signal.objective, moving | ({"running"} if signal.running is not None else set[str]())


def close(name: str, known: frozenset[str]) -> bool:
    """Is it probably one of them, misspelt? A channel of a source is known only once something was graded."""
    return bool(difflib.get_close_matches(name, known, n=1, cutoff=0.8))


def _known(method: Method) -> None:
    """Every part reads only what stands ready when it is called."""
    for seam, reader, ready in seats(method):
        if seam.startswith("credit") and not reader.gives:
            raise ValueError(f"method {method.name!r}: {seam} {reader.name!r} does not say what it gives: write @part(gives='credit_R')")
        _reads(method, seam, reader, ready)


def _updates(method: Method) -> list[tuple[str, Update]]:
    own = [(f"policies.{name}.update", one.update) for name, one in method.trained.items() if one.update is not None]
    return [("update", method.update), *own]


def _rewards(method: Method) -> None:
    """A reward reads channels, lengths and who stands beside whom; a schedule how far the run is."""
    for name in method.reward.reads:
        if name not in SIGHT and (not name.endswith("_R") or name in FACTS):
            raise ValueError(
                f"method {method.name!r}: its reward {method.reward.name!r} reads {name}: a reward reads channels as <channel>_R "
                f"(outcome_R, lenient_R, a grader's), and {', '.join(sorted(SIGHT))}. What is known per decision is for a credit"
            )
    schedules = {f"the weight of signals.{name}": s.weight for name, s in method.signals.items() if isinstance(s.weight, Part)}
    for seam, schedule in {**schedules, **{f"the schedule of {seam}": update.schedule for seam, update in _updates(method)}}.items():
        if schedule.reads != PROGRESS:
            raise ValueError(
                f"method {method.name!r}: {seam} {schedule.name!r} reads {', '.join(schedule.reads) or 'nothing'}: a schedule reads "
                "fraction, how much of the run is done"
            )


def _reads(method: Method, seam: str, reader: Part, ready: frozenset[str]) -> None:
    for name in reader.reads:
        if name in ready:
            continue
        said = f"method {method.name!r}: {seam} {reader.name!r} reads {name}"
        if name == NESTED:
            raise ValueError(
                f"{said}, the sub-groups that rollouts of one task share, and its sampler {type(method.sampler).__name__} forms none. "
                "Sample a tree (SegmentTree), or use a credit over whole groups (group_centered)."
            )
        if name == CHOSEN:
            raise ValueError(
                f"{said}, which text of a pair is the better one, and its feed {written(method.feed)} gives no pairs. Learn from a file of "
                "them (feed=Pairs()) or from an earlier stage (feed=Earlier(stage, correctness_pairs()))."
            )
        if name == "running":
            raise ValueError(f"{said}, the running mean of what its signal follows: Signal(…, running=implicit_reward())")
        if name == "reference_logp_T":
            raise ValueError(f"{said}, so it needs reference=True")
        if name in MOVING or name in {head.track for head in method.heads}:
            raise ValueError(f"{said}, which moves during the update; it is settled before. Read old_logp_T, or make it an objective.")
        if name == "reward_W":
            raise ValueError(f"{said}, the reward of each row, which a link before it gives: credit=(by_row(), …)")
        if name in ("credit_T", "credit_W", "credit_R") or (name == "return_T" and method.heads):
            raise ValueError(f"{said}, which no link of its credit gives before it. Credit: {list(method.credit)}.")
        if name in KNOWN:
            raise ValueError(f"{said}, so it needs heads=({KNOWN[name]},)")
        if name[-2:] == "_T" and (scorer := next((g.name for g in method.graders if g.gives == name[:-2]), "")):
            raise ValueError(f"{said}, and its grader {scorer!r} scores whole rollouts. Let it score the spans of a mark: spans='LABEL'")
        raise ValueError(f"{said}, which nobody provides. {nearest(name, ready)}")


def _marks(method: Method) -> None:
    """Each reads a text and gives a label or stretches of a name of its own; its constants are ones that it takes."""
    given = ["outcome", "lenient"]
    for i, mark in enumerate(method.marks):
        said = f"method {method.name!r}: marks[{i}] {mark.name!r}"
        if mark.reads != MARKED:
            raise ValueError(f"{said} reads {', '.join(mark.reads) or 'nothing'}: a mark reads text, what was written")
        if mark.gives[-2:] not in ("_R", "_T") or not mark.gives[:-2].isidentifier():
            raise ValueError(f"{said} gives {mark.gives!r}: a label gives NAME_R, stretches NAME_T: @part(gives='format_R')")
        if channel(mark) in given or f"{channel(mark)}_R" in FACTS | {"credit_R"}:
            raise ValueError(f"{said} gives {channel(mark)}_R, which is given already. Name it otherwise.")
        given.append(channel(mark))
        try:
            mark.on({"text": ""})
        except ValueError as error:
            raise ValueError(f"{said}: {error}") from error


def _graders(method: Method) -> None:
    """Each gives a channel of its own, reads what graders are given, and its scorer is there."""
    given = ["outcome", "lenient", *(channel(mark) for mark in method.marks)]
    for i, grader in enumerate(method.graders):
        said = f"method {method.name!r}: graders[{i}] {grader.name!r}"
        for name in grader.reads:
            if name not in JUDGED:
                raise ValueError(f"{said} reads {name}: a grader reads groups and ctx, and asks ctx.evaluate for tracks")
        if not grader.gives:
            raise ValueError(f"{said} does not say which channel it gives: write @part(gives='NAME')")
        if not grader.gives.isidentifier():
            raise ValueError(f"{said} gives the channel {grader.gives!r}, which is no name: a reward could not read it")
        if grader.gives in given:
            raise ValueError(f"{said} gives the channel {grader.gives!r}, which is given already. Name their channels apart.")
        if f"{grader.gives}_R" in FACTS | {"credit_R"}:
            raise ValueError(
                f"{said} gives the channel {grader.gives!r}, and {grader.gives}_R is something else already. Name it otherwise."
            )
        given.append(grader.gives)
        scorer = grader.constants.get("scorer", "online")
        if scorer not in SCORERS:
            raise ValueError(f"{said}: unknown scorer {scorer!r}. {nearest(scorer, SCORERS)}")
        marks = [name_of(mark) for mark in method.marks if not is_label(mark)]
        if (label := spans_of(grader)) and label not in marks:
            raise ValueError(f"{said} scores spans {label!r}, which no mark of the method gives. {nearest(label, marks)}")
        if judges_frozen(grader) and not method.reference:
            raise ValueError(f"{said} scores with the frozen start, so it needs reference=True")
        for held in grader.constants.values():
            if hasattr(held, "fits"):
                try:
                    held.fits(grader.constants, method.sampler.group_size)
                except ValueError as error:
                    raise ValueError(f"{said}: {error}") from error


def _pairs(method: Method) -> None:
    """A side of a pair is there where pairs are, and a running mean where somebody reads it."""
    for name, signal in method.signals.items():
        if signal.on.side and not method.paired:
            raise ValueError(
                f"method {method.name!r}: signals.{name} trains the {signal.on.side} text of pairs, and its feed {written(method.feed)} "
                "gives none. Learn from a file of them (feed=Pairs()) or from an earlier stage (feed=Earlier(stage, correctness_pairs()))."
            )
        if signal.running is not None and "running" not in signal.objective.reads:
            raise ValueError(f"method {method.name!r}: signals.{name} keeps a running mean that {signal.objective.name!r} does not read")


def _counts(method: Method) -> None:
    if not method.signals and not isinstance(method.update, Still):
        raise ValueError(
            f"method {method.name!r} has no signal, so it would train nothing. A stage that only samples says so: update=Still()."
        )
    for name, signal in method.signals.items():
        if signal.policy != "actor":
            raise ValueError(
                f"method {method.name!r}: signals.{name} trains {signal.policy!r}, but signals are those of every policy that is trained. "
                f"Which one is a group's role's to say: roles={{…: Role(policy={signal.policy!r})}}."
            )
    if (rate := method.pico_lr) is not None and not (isinstance(rate, float) and 0 <= rate < inf):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"method {method.name!r}: pico_lr={rate!r}; a learning rate is a number of at least 0")
    if method.tasks < 1:
        raise ValueError(f"method {method.name!r}: tasks={method.tasks}; a step needs at least one task")
    updates = max(update.updates(method.tasks) for update in method.updates.values())
    parts = [*method.credit, method.correction, *(s.objective for s in method.signals.values())]
    for reader in parts:
        if "group" in reader.needs and method.sampler.group_size < 2:
            raise ValueError(
                f"method {method.name!r} scores each rollout against its siblings ({reader.name}), so it needs a group of at least 2, "
                f"got {method.sampler.group_size}. Raise the sampler's n, or use a credit with a learned baseline (gae)."
            )
        if "one_update" in reader.needs and updates > 1:
            raise ValueError(
                f"method {method.name!r}: {reader.name!r} has no importance ratio, but the update makes {updates} optimiser steps per "
                "batch. Use epochs=1 and minibatch=None, or importance_sampling / clipped_surrogate."
            )


def _foreign(method: Method) -> None:
    """What others share is text: it has to be learned from by somebody, or sharing does nothing and nothing shows it."""
    if getattr(method.feed, "foreign", 0) and not any("teacher" in s.on.kinds for s in method.signals.values()):
        name = next(iter(method.signals))
        raise ValueError(
            f"method {method.name!r}: its feed draws foreign groups, which are teacher text, and no signal trains any. Let one: "
            f"signals={{{name!r}: ….but(on=actions | teacher)}}, or draw none (foreign=0)."
        )


def _ratios(method: Method) -> None:
    """Ratios go where something was sampled, and bridge each gap once."""
    direct = [name for name, s in method.signals.items() if "sampled_logp_T" in s.objective.reads]
    if direct and getattr(method.sampler, "moves", False):
        reader = method.signals[direct[0]].objective.name
        raise ValueError(
            f"method {method.name!r}: signals.{direct[0]} {reader!r} takes a ratio to sampled_logp_T, and text "
            f"of {written(method.sampler)} stands elsewhere than it was drawn, where nobody knows one. Use a sampler that keeps text "
            "where it was drawn (rows='threads'), or an objective with a ratio to old_logp_T."
        )
    for name in direct:
        on, reader = method.signals[name].on, method.signals[name].objective.name
        for kind in on.kinds:
            if kind != "action":
                raise ValueError(
                    f"method {method.name!r}: signals.{name} {reader!r} takes a ratio to sampled_logp_T, but on {kind} text nobody sampled "
                    "anything. Let it train actions, or use an objective without that ratio (cross_entropy)."
                )
        if method.correction.gives != "mask_T":
            raise ValueError(
                f"method {method.name!r}: signals.{name} {reader!r} takes its ratio to sampled_logp_T, and the correction "
                f"{method.correction.name!r} weighs by that gap too, so it would count twice. Use correction=none (or one that only "
                "masks: gives='mask_T'), or an objective with a ratio to old_logp_T."
            )
    if "sampled" in method.correction.needs and not any("action" in s.on.kinds for s in method.signals.values()):
        raise ValueError(
            f"method {method.name!r}: the correction {method.correction.name!r} needs sampled log-probabilities, but no signal trains an "
            "action. Use correction=none."
        )


def _clips(method: Method) -> None:
    """A clip is legal where nobody feels it, unless it is the whole idea."""
    clips, parent = unfelt(method), method.parent
    paths = {path for name in clips for path in (f"signals.{name}", f"signals.{name}.objective")}
    if parent is None or not method.idea or not set(method.idea) <= paths:
        return
    if all(name in parent.signals and _only_constants(parent.signals[name], method.signals[name]) for name in clips):
        raise ValueError(
            f"method {method.name!r}: its idea is a clip, and with one optimiser update per batch no clip is ever felt. Give its "
            f"update a minibatch below tasks={method.tasks}, or more epochs."
        )


def unfelt(method: Method) -> list[str]:
    """Signals whose clip can bind on nothing: at the first update of a batch every ratio of now to old is 1."""
    once = all(update.updates(method.tasks) == 1 for update in method.updates.values())
    return [n for n, s in method.signals.items() if once and "clip" in s.objective.needs and "sampled_logp_T" not in s.objective.reads]


def remarks(method: Method) -> list[str]:
    """What is legal and yet worth knowing."""
    clips = [f"the clip of {name} is never felt: one update per batch, so every ratio is 1" for name in unfelt(method)]
    most = getattr(method.sampler, "max_tokens", None)
    divided = [
        f"{name} divides by {level.constant:g} and the longest reply is {most}: the constant is the method's and follows no --max-tokens"
        for name, signal in method.signals.items()
        for level in signal.reduce.levels
        if level.name == "token" and level.constant is not None and most is not None and level.constant != most
    ]
    rate = [] if method.pico_lr is None else [f"trains the bundled model at a learning rate of {method.pico_lr:g}; --lr sets another"]
    return [*clips, *divided, *rate, *method.notes]


def _only_constants(a: Signal, b: Signal) -> bool:
    """The same signal but for constants of its objective."""
    return a.objective.id == b.objective.id and a.but(objective=b.objective) == b
