"""What a method is, in words a reader can check: `explain` prints its formula, `differences` compares two.

Lines of the form `name = expression` under a heading are the language of `seams/formula.py`; the tests evaluate exactly what is printed,
on random batches, against the code. The headings `…, decisions where CONDITION:` say which decisions the statistics below them see.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from strop.method import SAID, Method
from strop.program import Program, Repeat, Share, Stage, Steps
from strop.seams.asked import Trained
from strop.seams.compute import Quantized
from strop.seams.formula import UNITS, number
from strop.seams.gate import Gate, WholeGate
from strop.seams.grader import spans_of
from strop.seams.mark import channel, is_label, name_of
from strop.seams.part import Part, written
from strop.seams.reduction import Reduction
from strop.seams.role import Role
from strop.seams.signal import Signal
from strop.seams.update import Still, Update
from strop.sense import remarks


def explain(method: Method | Program, *, own: bool = True) -> str:
    """The whole method as text, top to bottom as a step runs it, with every constant; of a program stage after stage.

    `own`: the learner's own weights and arithmetic draw the rollouts; another's recording, or another engine, does not.
    """
    return "\n".join(_staged(method, own) if isinstance(method, Program) else _lines(method, own))


def _staged(program: Program, own: bool) -> Iterator[str]:
    yield f"program {program.name}: weights, noise, bill and ledger go on; optimiser, reference and curriculum begin anew where a"
    yield "stage does not keep them; step and fraction are the stage's"
    at = 0
    for one in program.stages:
        stages = one.stages if isinstance(one, Repeat) else (one,)
        if isinstance(one, Repeat):
            yield f"\n{'=' * 20} {one.times} times: {', '.join(stage.name for stage in stages)}"
        for stage in stages:
            yield f"\n{'=' * 20} stage {at + 1}, {stage.name}: {stage.method.name}, {ends(stage)}"
            yield from (f"    {line}" for line in _taken(stage))
            yield ""
            yield from _lines(stage.method, own)
            at += 1
        at += (one.times - 1) * len(stages) if isinstance(one, Repeat) else 0


def ends(stage: Stage) -> str:
    """When a stage is over, in words."""
    until = stage.until
    if isinstance(until, Steps):
        return f"{until.count} steps"
    if isinstance(until, Share):
        return "what is left of the budget" if until.of == 1 else f"{number(until.of)} of the budget"
    return f"until {written(until.part)}, at most {until.at_most} steps"


def _taken(stage: Stage) -> Iterator[str]:
    if stage.begins != "last":
        yield f"begins with the weights of {stage.begins}"
    if stage.keeps:
        yield f"keeps {', '.join(stage.keeps)}"
    if stage.pace != 1:
        yield f"at {number(stage.pace)} of the recipe's learning rate"
    if stage.task:
        yield f"on {stage.task}"


def _gates(gates: Sequence[Gate | WholeGate]) -> Iterator[str]:
    yield from (f"    {written(gate)}: {first_line(gate)}" for gate in gates)
    if not gates:
        yield "    none: every rollout that could be graded is trained"


def _lines(method: Method, own: bool) -> Iterator[str]:
    yield "what is sampled"
    yield f"    {method.tasks} tasks a step, from {written(method.curriculum)} through {written(method.feed)}"
    yield f"    {written(method.sampler)}"
    for name, other in method.policies.items():
        told = "trained too" if isinstance(other, Trained) else "asked and stays as it is"
        yield f"    beside the actor the policy {name}, which is {told}: {written(other)}"
    if isinstance(method.compute, Quantized):
        yield f"    drawn with {written(method.compute)}: the learner's log-probabilities are measured, and a correction bridges the two"
    if method.environment is not None:
        yield f"    {written(method.environment)}"
    if method.memory is not None:
        yield f"    reminded by {written(method.memory)}: cases of other tasks stand before each question"
    yield ""
    if method.marks:
        yield "marks, read off each reply before it is graded"
        for mark in method.marks:
            gives = "-1 for none" if is_label(mark) else f'tokens inside; as a place, span("{name_of(mark)}")'
            yield f"    {channel(mark)}_R ({gives}): {written(mark)}"
        yield ""
    if method.graders:
        yield "graders, beside the source's verdict"
        for grader in method.graders:
            yield f"    {written(grader)}: {(grader.fn.__doc__ or '').strip().splitlines()[0]}"
            if label := spans_of(grader):
                yield f'    {grader.gives}_T (at the last decision of each span("{label}"), NaN elsewhere): its score'
        yield ""
    if method.paired:
        yield "pairs"
        yield "    chosen_R is 1 for the better text of each pair and 0 for the other; nothing is graded"
    else:
        yield "reward, for every rollout:"
        yield from _said(method.reward)
    for name, role in method.roles.items():
        yield f"reward, for rollouts of role {name}{_whom(role)}:"
        yield from _said(role.reward)
    yield ""
    yield "gate"
    yield from _gates(method.gate)
    for name, role in method.roles.items():
        yield f"gate, for groups of role {name}{_whom(role)}"
        yield from _gates(role.gate)
    yield ""
    yield "log-probabilities"
    yield from (f"    {line}" for line in log_probabilities(method, own))
    if method.heads:
        yield ""
        yield "heads, trained with the policy"
        yield from (f"    {head.says()}" for head in method.heads)
    yield ""
    yield "correction and credit, once over the whole batch, decisions where trains_T:"
    yield from _said(method.correction)
    if any("reward_T" in link.reads for link in method.credit):
        yield "    reward_T = where(last(rollout), reward_R, 0)"
    for link in method.credit:
        yield from _said(link)
        yield from (f"    credit_T = {name}" for name in link.gives.split(",") if name in ("credit_R", "credit_W"))
    for name, signal in method.signals.items():
        yield ""
        yield from _signal(name, signal)
    if method.signals:
        yield ""
        yield "the loss of a minibatch:"
        yield f"    loss = {' + '.join(f'{_weight(name, s)} * {name}' for name, s in method.signals.items())}"
    yield ""
    yield "update"
    yield from _update(method.update, method.tasks)
    yield from (f"    note: {remark}" for remark in remarks(method))
    for name, other in method.trained.items():
        yield ""
        yield f"update of the policy {name}, by its own groups: the same signals, an optimiser of its own"
        yield from _update(other.update, method.tasks) if other.update is not None else ["    as the actor's"]


def _whom(role: Role) -> str:
    return "" if role.policy == "actor" else f", which train {role.policy}"


def _signal(name: str, signal: Signal) -> Iterator[str]:
    """The lines of one signal: its loss per unit, the share of each unit, their sum."""
    letter = UNITS[signal.objective.grain]
    kept = "" if signal.objective.grain == "group" else "weight_R * "
    yield f"signal {name}, over each minibatch, decisions where {signal.where}:"
    if signal.running is not None:
        yield "    # a running mean, over all minibatches so far"
        yield from _said(signal.running)
        yield "    running = (earlier_sum + sum(value_R, batch, active(rollout))) / max(earlier_count + active(rollout, batch), 1)"
    yield from _said(signal.objective)
    yield f"    # {signal.reduce.words()}"
    yield f"    {signal.reduce.formula()}"
    yield f"    {name} = sum(share_{letter} * {kept}loss_{letter}, batch)"
    if isinstance(signal.weight, Part):
        yield from _said(signal.weight)
        yield f"    {_weight(name, signal)} = factor"


def _weight(name: str, signal: Signal) -> str:
    return f"weight_of_{name}" if isinstance(signal.weight, Part) else number(signal.weight)


def _update(update: Update, tasks: int) -> Iterator[str]:
    yield f"    {written(update)}"
    if isinstance(update, Still):
        yield f"    none: {tasks} tasks a step are sampled, graded and committed, and no weight moves"
        return
    yield from _said(update.schedule)
    yield f"    lr = {number(update.lr)} * factor"
    held = "the whole batch at once" if update.minibatch is None else f"minibatches of {update.minibatch} groups"
    held = held if update.pieces is None else f"what the gates left in {update.pieces} pieces"
    times = "once" if update.epochs == 1 else f"{update.epochs} times"
    count = update.updates(tasks)
    yield f"    a batch of {tasks} groups, {held}, {times}: {count} optimiser update{'s' * (count > 1)} per batch"


def _said(part: Part) -> Iterator[str]:
    yield f"    # {written(part)}"
    yield from (f"    {line}" for line in part.says().splitlines())


def log_probabilities(method: Method, own: bool = True) -> Iterator[str]:
    """Which of the four log-probabilities each name is in this method."""
    yield "logp_T is the learner's, now; sampled_logp_T what the engine recorded"
    updates, read = method.update.updates(method.tasks), _said_to_read(method)
    if "old_logp_T" not in read:
        yield "old_logp_T is read by nothing here"
    elif not own or isinstance(method.compute, Quantized):
        yield "old_logp_T is measured: one pass of the learner before the update, since other weights or arithmetic drew the rollouts"
    elif getattr(method.sampler, "moves", False):
        yield "old_logp_T is measured: one pass of the learner before the update, since some text stands elsewhere than it was drawn; its"
        yield "    sampled_logp_T is unknown, and no correction bridges it"
    elif any(head.old_track for head in method.heads):
        yield "old_logp_T is measured: one pass of the learner before the update, the one that also gives the old values"
    else:
        unsigned = sorted({kind for s in method.signals.values() if "old_logp_T" in s.objective.reads for kind in s.on.kinds} - {"action"})
        yield "old_logp_T is sampled_logp_T: the embedded engine samples from the learner's own weights (gap: `mismatch` on every line)"
        if unsigned:
            yield f"    except where the batch holds {' or '.join(unsigned)} text: then one pass of the learner measures it"
    if "old_logp_T" in read and updates == 1:
        yield "    with one update per batch it equals logp_T.detach() within rounding: every ratio of the two is 1"
    if getattr(method.feed, "foreign", 0):
        yield "foreign groups are text that nobody here drew: without a sampled_logp_T their ratio begins at 1, and no correction bridges"
        yield "    from whoever wrote them"
    if "reference_logp_T" in read:
        yield "reference_logp_T is measured: one pass of the initial weights, kept frozen"
    elif method.reference:
        yield "the initial weights are kept frozen, though nothing here reads reference_logp_T"


def _said_to_read(method: Method) -> set[str]:
    """Names in the formulas, or, where a part has none, what it takes."""
    parts = [method.correction, *method.credit, *(p for s in method.signals.values() for p in (s.objective, s.running) if p is not None)]
    return {name for each in parts for name in each.reads if name in each.says()}


def first_line(record: Any) -> str:
    """What a record says of itself, in one line."""
    return (type(record).__doc__ or "").strip().splitlines()[0].strip() if type(record).__doc__ else ""


@dataclass(frozen=True)
class Difference:
    """Two methods side by side: the constants and parts that differ, and the printed lines that do."""

    names: tuple[str, str]
    fingerprints: tuple[str, str]
    seams: tuple[tuple[str, str, str], ...]
    """(where, what the first has there, what the second has)."""
    lines: tuple[str, ...]
    """Lines of the formula, `- ` the first's and `+ ` the second's, under the heading they stand below."""

    @property
    def same(self) -> bool:
        return self.fingerprints[0] == self.fingerprints[1]


def differences(a: Method | Program, b: Method | Program) -> Difference:
    """Which seams and parts differ, their constants side by side, and the lines of the formula that differ; of programs the lines alone."""
    seams = () if isinstance(a, Program) or isinstance(b, Program) else tuple(_differing("", _tree(a), _tree(b)))
    return Difference((a.name, b.name), (a.fingerprint, b.fingerprint), seams, tuple(_changed(a, b)))


ABSENT = "—"


def _tree(value: Any) -> Any:
    """Nested names: a part or record is ("its name", {constant: …}), a chain is numbered, what is left is written out."""
    if isinstance(value, Method):
        return ("", {f.name: _tree(getattr(value, f.name)) for f in dataclasses.fields(value) if f.name not in SAID})
    if isinstance(value, Part):
        return (value.id, {k: _tree(v) for k, v in value.constants.items()})
    if isinstance(value, Reduction):
        return written(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        name = "" if isinstance(value, Signal) else type(value).__name__
        return (name, {f.name: _tree(getattr(value, f.name)) for f in dataclasses.fields(value)})
    if isinstance(value, Mapping):
        items = cast(Mapping[Any, Any], value)
        return ("", {str(k): _tree(v) for k, v in items.items()})
    if isinstance(value, tuple) and any(isinstance(v, Part) or dataclasses.is_dataclass(v) for v in cast(tuple[Any, ...], value)):
        members = cast(tuple[Any, ...], value)
        return ("", {str(i): _tree(v) for i, v in enumerate(members)})
    return written(value)


def _differing(path: str, a: Any, b: Any) -> Iterator[tuple[str, str, str]]:
    if a == b:
        return
    if isinstance(a, tuple) and isinstance(b, tuple) and a[0] == b[0]:
        mine, theirs = cast(dict[str, Any], a[1]), cast(dict[str, Any], b[1])
        for name in (*mine, *(n for n in theirs if n not in mine)):
            yield from _differing(f"{path}.{name}".strip("."), mine.get(name, ABSENT), theirs.get(name, ABSENT))
        return
    yield (path, _flat(a), _flat(b))


def _flat(tree: Any) -> str:
    if not isinstance(tree, tuple):
        return str(tree)
    name, inside = cast(tuple[str, dict[str, Any]], tree)
    if not inside:
        return f"{name}()" if name else ABSENT
    if not name and all(key.isdigit() for key in inside):
        return ", ".join(_flat(v) for v in inside.values())
    return f"{name}({', '.join(f'{k}={_flat(v)}' for k, v in inside.items())})"


def _changed(a: Method | Program, b: Method | Program) -> Iterator[str]:
    """The lines that differ, each block under its heading."""
    import difflib

    mine, theirs = explain(a).splitlines(), explain(b).splitlines()
    heading, shown = "", ""
    for line in difflib.ndiff(mine, theirs):
        if line.startswith("?"):
            continue
        if line[2:] and not line[2:].startswith(" "):
            heading = line[2:]
        if line[0] in "+-" and line[2:].strip():
            if heading and heading != shown and line[2:] != heading:
                yield heading
                shown = heading
            yield line


def seams_that_differ(method: Method) -> list[str]:
    """Against its parent: the idea as the method names it, then, in brackets, what else differs and so is its setting."""
    if method.parent is None:
        return []
    mine, theirs = method.describe(), method.parent.describe()
    changed = [seam for seam in {**mine, **theirs} if seam != "signals" and mine.get(seam) != theirs.get(seam)]
    changed += [f"signals.{n}" for n in {**mine["signals"], **theirs["signals"]} if mine["signals"].get(n) != theirs["signals"].get(n)]
    setting = [seam for seam in changed if seam not in method.units()]
    return [*method.idea, *(f"({seam})" for seam in setting)]
