"""A method says what it is: every constant is printed, it survives JSON, it adds to another, and what makes no sense is refused."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from torch import Tensor

from strop.catalogue import own
from strop.identity import differences, explain
from strop.method import Method
from strop.methods import METHODS, method
from strop.methods.cispo import CISPO
from strop.methods.dapo import DAPO
from strop.methods.dr_grpo import DR_GRPO
from strop.methods.grpo import GRPO
from strop.methods.gspo import GSPO
from strop.methods.intuitor import INTUITOR
from strop.methods.ppo import PPO
from strop.methods.reinforce_pp import REINFORCE_PP
from strop.saved import load
from strop.seams import formula
from strop.seams.asked import Asked
from strop.seams.compute import Quantized
from strop.seams.correction import truncated
from strop.seams.curriculum import Uniform
from strop.seams.feed import WithDemos
from strop.seams.mark import channel, pieces
from strop.seams.memory import Bank
from strop.seams.objective import clipped_surrogate, importance_sampling, kl_to, sequence_ratio
from strop.seams.part import Part, describe, part
from strop.seams.reduction import means, over, power_of
from strop.seams.role import Role
from strop.seams.signal import Signal, linear, random_share, spans, teacher, warmup_cosine
from strop.seams.update import AdamW
from strop.sense import MARKED, remarks
from strop.tasks import source

EVERY = {name: method(name) for name in METHODS}
MORE = {
    "demonstrations": GRPO.but(feed=WithDemos(demos=4), curriculum=Uniform()),
    "schedules": PPO.but(
        signals={
            "kl": Signal(kl_to(estimator="k3"), means("group", power_of("token", 0.5)), weight=linear(end=0.25)),
            "late": Signal(clipped_surrogate(dual_clip=3.0), means(over("token", 64)), on=spans("late"), weight=0.5),
            "few": Signal(clipped_surrogate(), means("token"), on=random_share(0.5), weight=0.5),
            "taught": Signal(clipped_surrogate(), means("row", "token"), on=teacher, weight=0.1),
        },
        correction=truncated(level="sequence"),
        update=AdamW(lr=1e-5, schedule=warmup_cosine(warmup=0.1), minibatch=8),
    ),
}
ALL = EVERY | MORE


def one_registered_method_per_name() -> Iterator[Any]:
    yield from (pytest.param(one, id=name) for name, one in ALL.items())


# Every constant is printed and counts.

Path = tuple[str | int, ...]
OTHER_WORDS = {
    "token": ("sequence", "row"), "sequence": ("token",), "k1": ("k2",), "k2": ("k3",), "k3": ("k1",), "context": ("drop", "train"),
    "train": ("context",),
    "action": ("teacher",), "teacher": ("forced",), "rollout": ("row",), "group": ("rollout",), "actor": (), "online": ("frozen",),
    "linear": ("mlp",), "mlp": ("linear",), "mean": ("sum",), "uniform": ("top",), "top": ("uniform",),
    "chosen": ("rejected",), "cleanest": ("weighted",), "seen": ("threads",), "random": ("extremes",), "tokens": ("tasks",),
    "first": ("best",), "each": ("share",),
}  # fmt: skip
"""What else may stand where a word stands; nothing else trains than the actor."""


def constants(tree: Any, at: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every number, word, truth and None among the constants of every part; names and versions of parts are not constants."""
    if isinstance(tree, dict) and set(tree) - {"body", "reading"} == {"part", "version", "with"}:
        yield from constants(tree["with"], (*at, "with"))
    elif isinstance(tree, dict):
        for name, value in tree.items():
            yield from constants(value, (*at, name))
    elif isinstance(tree, list):
        for number, value in enumerate(tree):
            yield from constants(value, (*at, number))
    else:
        yield at, tree


def others(value: Any) -> list[Any]:
    """Values that differ; the first that is legal where it stands is taken."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value + 0.5, value - 0.25, value * 2]
    if isinstance(value, float):
        return [value * 1.25, value * 0.75]
    if value is None:
        return [0.75, 3, 64, [1, 2]]
    return list(OTHER_WORDS.get(value, (value + "x",)))


def put(tree: Any, at: Path, value: Any) -> Any:
    if not at:
        return value
    if isinstance(tree, list):
        return [put(v, at[1:], value) if i == at[0] else v for i, v in enumerate(tree)]
    return {k: put(v, at[1:], value) if k == at[0] else v for k, v in tree.items()}


def mutants(one: Method) -> Iterator[tuple[Path, Any, Method]]:
    """The method with one constant changed, for each constant that may be changed by itself."""
    saved = one.to_json()
    for at, value in constants(saved["parts"]):
        for new in (new for new in others(value) if new != value):
            try:
                yield at, new, load(saved | {"parts": put(saved["parts"], at, new)})
            except (ValueError, NotImplementedError):
                continue
            break


FIXED = {
    "feed.with.own.with.ahead": "the same",
    "reference": "False would take it away from a part that reads it",
    "heads.0.with.name": "a part reads the head by its name",
    "heads.0.with.per": "and a number per decision where it reads one, per prompt where it reads that",
    "update.with.epochs": "an objective without a ratio takes one update",
    "environment": "no world is the other of none",
    "sampler.with.window.with.limit": "0 is what the model takes; another number has to hold an action and an answer",
    "gate.0.with.lost": "our fault is no score",
    "graders.0.with.spans": "a mark gives the stretches of that name",
    "graders.0.with.judge.with.over": "one of two words",
    "feed.with.text": "of demonstrations in a world: other words leave it out",
    "sampler.with.sampling.with.top_p": "training refuses it",
    "sampler.with.sampling.with.top_k": "training refuses it",
}
"""What has one legal value where it stands."""
BOUND = re.compile(
    r"\.policy$|\.levels\.\d+\.with\.(name|constant|power)$|\.on\.with\.kinds\.\d+$|^sampler\.with\.(solve|write)\.with\.(turns|sampling)"
)
"""What cannot change by itself: the trained policy, the levels of a reduction with the objective's grain, a kind that must be trained; a
level that divides by a constant divides by nothing else; and two samplers in one are drawn alike, in one turn."""


def lines(text: str) -> str:
    """What is evaluated or said of records, without the comments that repeat a part's constants."""
    return "\n".join(line for line in text.splitlines() if not line.strip().startswith("#"))


@pytest.mark.parametrize("one", one_registered_method_per_name())
def test_changing_any_constant_of_any_part_changes_the_printed_formula_and_the_fingerprint(one):
    printed, changed = lines(explain(one)), set[Path]()
    for at, new, mutant in mutants(one):
        assert mutant.fingerprint != one.fingerprint, (at, new)
        assert lines(explain(mutant)) != printed, (at, new)
        changed.add(at)
    left = [".".join(map(str, at)) for at, _ in constants(one.describe()) if at not in changed]
    assert [path for path in left if path not in FIXED and not BOUND.search(path)] == []
    assert len(changed) >= 19


# The language.


GRADERS = [thing for thing in own().values() if isinstance(thing, Part) and "ctx" in thing.reads]
"""They ask policies and judges; what they give is a channel, not an expression."""
ENDS = [thing for thing in own().values() if isinstance(thing, Part) and thing.gives == "done"]
"""They say of metrics lines whether a stage is done."""
MARKS = [thing for thing in own().values() if isinstance(thing, Part) and thing.reads == MARKED]
"""They read text; what they give is a number of the rollout."""
CUTS = [thing for thing in own().values() if isinstance(thing, Part) and thing.gives in ("units", "stops")]
"""They cut what was thought into units, or say behind which answer a reply may end."""
EVALUATED = [
    thing for thing in own().values() if isinstance(thing, Part) and "groups" not in thing.reads and thing not in (*MARKS, *ENDS, *CUTS)
]
"""Neither graders nor marks nor makers, which give groups, nor what ends a stage, nor what cuts a text."""


@pytest.mark.parametrize("each", EVALUATED, ids=lambda each: each.name)
def test_every_part_has_a_formula_in_the_language_that_reads_what_the_part_reads(each):
    assert each.formula
    letter = formula.UNITS[each.grain]
    correction = each.fn.__module__.endswith("correction")
    gives = ["weight_T", "mask_T"] if correction else each.gives.split(",") if each.gives else [f"loss_{letter}"]
    formula.check(each.says(), each.reads, gives)


def test_every_function_of_the_language_stands_in_the_glossary_and_is_read_by_the_reader():
    from strop.check import reader

    shown = formula.glossary()
    assert all(re.search(rf"\b{word}\b", shown) for word in formula.FUNCTIONS)
    names = {name for each in EVALUATED for name in each.reads if name != "index"}
    channels = {f"{grader.gives}_R" for grader in GRADERS} | {f"{channel(mark)}_R" for mark in MARKS}
    graded = {f"{c}_R" for each in map(source, ("facts", "verdict", "bargain", "proofs")) for c in each.grade(each.task("train", 0, 0), "")}
    assert names - set(formula.NAMES) - channels <= graded
    own_words = {"mean", "sum", "std", "count", "active", "last", "behind", "next", "later_sum", "nested_mean", "same", "alike", "span"}
    assert set(reader.ELEMENTWISE) | own_words == formula.FUNCTIONS


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("loss_T = softmax(logp_T)", "'softmax' is no word of the language"),
        ("loss_T = -logp_T * credit_T", "reads credit_T, which its part does not read"),
        ("gain_T = logp_T", "gives gain_T, but not loss_T"),
        ("loss_T -= logp_T", "write `name = expression`"),
        ("loss_T = logp_T +", "is no Python"),
    ],
)
def test_a_formula_outside_the_language_is_refused(text, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        formula.check(text, ("logp_T",), ("loss_T",))


def test_a_formula_that_leaves_out_a_constant_is_refused():
    with pytest.raises(ValueError, match=re.escape("names the constants [], but its keyword-only parameters are ['scale']")):

        @part(formula="loss_T = -logp_T")
        def scaled(logp_T: Tensor, *, scale: float = 2.0) -> Tensor:
            return -scale * logp_T


@part()
def nameless(logp_T: Tensor, *, scale: float = 2.0) -> Tensor:
    return -scale * logp_T


def test_a_part_without_a_formula_is_printed_as_a_call_with_its_constants():
    one = GRPO.but(signals={"policy": Signal(nameless(scale=3.0), means("token"))})
    assert "    loss_T = nameless(logp_T, scale=3.0)" in explain(one).splitlines()


# Data.


@pytest.mark.parametrize("one", one_registered_method_per_name())
def test_a_method_survives_json(one):
    data = json.loads(json.dumps(one.to_json()))
    back = load(data)
    assert (back, hash(back), back.fingerprint, explain(back)) == (one, hash(one), one.fingerprint, explain(one))
    assert back.lineage == one.lineage
    assert back.notes == ()
    assert json.loads(json.dumps(back.to_json())) == data


def test_numbers_come_back_as_what_they_were():
    back = load(json.loads(json.dumps(GRPO.to_json())))
    assert json.dumps(back.sampler.sampling.to_json()) == json.dumps(GRPO.sampler.sampling.to_json()), "it is committed with each rollout"
    assert repr(back.signals["policy"].objective.constants) == repr(GRPO.signals["policy"].objective.constants)


def test_a_method_can_be_a_key():
    assert {GRPO: 1, DAPO: 2}[load(DAPO.to_json())] == 2


def test_constants_at_their_defaults_are_no_difference():
    assert clipped_surrogate(clip_low=0.2) == clipped_surrogate() == clipped_surrogate(clip_low=0.3)(clip_low=0.2)
    assert clipped_surrogate(clip_low=0.3) != clipped_surrogate()


def test_a_saved_part_nobody_knows_is_refused_with_the_nearest_name():
    data = json.loads(json.dumps(GRPO.to_json()).replace("group_standardized", "group_standardised"))
    with pytest.raises(ValueError, match=r"no part 'group_standardised'\. Did you mean 'group_standardized'"):
        load(data)


def test_loading_imports_nothing_the_file_names():
    data = json.loads(json.dumps(GRPO.to_json()).replace('"group_standardized"', '"antigravity.fly"'))
    with pytest.raises(ValueError, match=r"no part 'antigravity\.fly'"):
        load(data)


def test_a_part_of_ones_own_loads_when_it_is_handed_over():
    one = GRPO.but("own", signals={"policy": Signal(nameless(scale=3.0), means("token"))})
    data = json.loads(json.dumps(one.to_json()))
    with pytest.raises(ValueError, match="handed over"):
        load(data)
    assert load(data, [nameless]) == one


def test_the_body_of_ones_own_part_is_in_the_fingerprint_and_a_change_is_noted():
    data = GRPO.but("own", signals={"policy": Signal(nameless(), means("token"))}).to_json()
    objective = data["parts"]["signals"]["policy"]["with"]["objective"]
    assert len(objective["body"]) == 16
    assert "body" not in describe(clipped_surrogate())
    objective["body"] = "0" * 16
    assert load(data, [nameless]).notes == ("the body of strop_recipe.nameless is not the one it was saved with",)


@part(version=2, formula="loss_T = -{scale} * logp_T + {shift}")
def twice(logp_T: Tensor, *, scale: float = 2.0, shift: float = 0.0) -> Tensor:
    return -scale * logp_T + shift


def saved_twice(version: int, **constants: float) -> dict[str, Any]:
    one = GRPO.but("versions", signals={"policy": Signal(twice(), means("token"))})
    data = json.loads(json.dumps(one.to_json()))
    data["parts"]["signals"]["policy"]["with"]["objective"] |= {"version": version, "with": constants}
    return data


def test_an_older_part_loads_with_the_constants_it_was_saved_with_and_says_so():
    one = load(saved_twice(1, scale=5.0), [twice])
    assert one.signals["policy"].objective == twice(scale=5.0)
    note = "is version 2 here, was saved with 1: its constants are the saved ones; new since, at its default: shift"
    assert note in one.notes[0]
    assert note in explain(one)
    assert one.but(tasks=3).notes == one.notes


@pytest.mark.parametrize(
    ("version", "given", "words"),
    [
        (3, {"scale": 5.0, "shift": 0.0}, "was saved with version 3, and this strop has 2. Update strop"),
        (2, {"scale": 5.0}, "lacks shift"),
        (1, {"scal": 5.0}, "was saved with scal=5.0, which it no longer has. Did you mean 'scale'"),
    ],
)
def test_a_saved_part_that_cannot_be_what_it_was_is_refused(version, given, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        load(saved_twice(version, **given), [twice])


@pytest.mark.parametrize("data", [{}, {"name": "x", "paper": "", "idea": [], "parent": None, "parts": {"credits": []}}, {"parts": 3}])
def test_what_is_no_saved_method_is_refused(data):
    with pytest.raises(ValueError, match=r"not a saved method|no seam 'credits'\. Did you mean 'credit'"):
        load(data)


# Refusals.


@part()
def to_sampler(logp_T: Tensor, sampled_logp_T: Tensor, credit_T: Tensor) -> Tensor:
    return -(logp_T - sampled_logp_T).exp() * credit_T


class Holder:
    def method(self, logp_T: Tensor) -> Tensor:
        return logp_T


def closed_over(scale: float) -> Any:
    def inner(logp_T: Tensor) -> Tensor:
        return scale * logp_T

    return inner


@pytest.mark.parametrize(
    ("fn", "kind"),
    [(lambda logp_T: logp_T, "lambda"), (closed_over(2.0), "closure"), (Holder().method, "bound method")],
    ids=["lambda", "closure", "bound method"],
)
def test_what_cannot_be_named_is_no_part(fn, kind):
    with pytest.raises(ValueError, match=f"is a {kind}: it cannot be named, hashed or loaded again"):
        part()(fn)


@part(formula="loss_T = softmax(logp_T)")
def soft(logp_T: Tensor) -> Tensor:
    return logp_T


def _one_armed(*, scale: float) -> str:
    return "loss_T = {scael} * logp_T"


@part(formula=_one_armed)
def one_armed(logp_T: Tensor, *, scale: float = 1.0) -> Tensor:
    return scale * logp_T


NONSENSE = {
    "a formula outside the language": (
        lambda: GRPO.but(signals={"policy": Signal(soft, means("token"))}),
        "method 'grpo@strop-1': signals.policy 'soft': formula of loss_T: 'softmax' is no word of the language",
    ),
    "a formula of other constants": (
        lambda: GRPO.but(signals={"policy": Signal(one_armed(), means("token"))}),
        "its formula does not fit its constants scale: KeyError 'scael'",
    ),
    "an estimator nobody knows": (
        lambda: GRPO.but(signals={"kl": Signal(kl_to(estimator="k4"), means("token"))}, reference=True),
        "signals.kl 'kl_to': unknown KL estimator 'k4'; use k1, k2 or k3",
    ),
    "a level nobody knows": (lambda: GRPO.but(correction=truncated(level="turn")), "unknown level 'turn'; use token or sequence"),
    "a function as an objective": (lambda: Signal(lambda logp_T: logp_T, means("token")), "a signal's objective is a part"),
    "a function as a credit": (lambda: GRPO.but(credit=(lambda reward_R: reward_R,)), "credit[0] is a part, got <function"),
    "a function as a reward": (lambda: GRPO.but(reward=len), "reward is a part, got <built-in"),
    "a function as a constant": (lambda: GRPO.but(update=AdamW(minibatch=8, lr=1e-6, schedule=abs)), "cannot describe <built-in"),
    "two bridges over one gap": (
        lambda: GRPO.but(signals={"policy": Signal(to_sampler, means("token"))}, correction=truncated()),
        "takes its ratio to sampled_logp_T, and the correction 'truncated' weighs by that gap too, so it would count twice",
    ),
    "a ratio to what nobody sampled": (
        lambda: GRPO.but(signals={"policy": Signal(to_sampler, means("token"), on=teacher)}),
        "on teacher text nobody sampled anything",
    ),
    "a correction where nothing is sampled": (
        lambda: GRPO.but(signals={"policy": GRPO.signals["policy"].but(on=teacher)}, correction=truncated()),
        "needs sampled log-probabilities, but no signal trains an action",
    ),
    "a clip as the whole idea, felt by nobody": (
        lambda: GRPO.but("clip-higher", signals={"policy": GRPO.signals["policy"].but(objective=clipped_surrogate(clip_high=0.28))}).but(
            update=AdamW()
        ),
        "its idea is a clip, and with one optimiser update per batch no clip is ever felt",
    ),
    "a signal that cannot stand in a formula": (
        lambda: GRPO.but(signals={"the loss": GRPO.signals["policy"]}),
        "cannot be called 'the loss'",
    ),
    "a signal called like a function": (lambda: GRPO.but(signals={"mean": GRPO.signals["policy"]}), "cannot be called 'mean'"),
    "an idea nobody has": (lambda: GRPO.but("x", idea=("credits",)), "names 'credits', which it does not have. Did you mean 'credit'"),
    "an idea about a signal that is not there": (lambda: GRPO.but("x", idea=("signals.value",)), "names 'signals.value'"),
}


@pytest.mark.parametrize("case", NONSENSE)
def test_nonsense_is_refused_when_the_method_is_built(case):
    build, words = NONSENSE[case]
    with pytest.raises(ValueError, match=re.escape(words)):
        build()


def test_a_clip_that_nobody_feels_is_legal_and_remarked():
    once = GRPO.but(update=AdamW())
    assert remarks(once) == ["the clip of policy is never felt: one update per batch, so every ratio is 1"]
    assert remarks(once)[0] in explain(once)
    assert remarks(GRPO) == []
    assert remarks(GRPO.but(update=AdamW(), signals={"policy": Signal(importance_sampling(), means("token"))})) == []


def test_a_ratio_to_the_sampler_goes_without_a_correction():
    GRPO.but(signals={"policy": Signal(to_sampler, means("token"))})


# Lineage and sums.


def test_a_child_knows_its_parent_and_a_new_setting_is_no_child():
    assert DAPO.parent is GRPO
    assert DAPO.but(tasks=8).parent is GRPO
    assert DAPO.but("mine", gate=()).lineage[1:] == (DAPO, GRPO)
    assert DAPO.but("mine", gate=(), tasks=3).idea == ("gate",)
    assert DAPO.but("mine", signals={"policy": GRPO.signals["policy"]}).idea == ("signals.policy",)


def test_two_ideas_for_different_seams_add_up():
    both = DR_GRPO.only("credit") + DAPO
    assert (both.credit, both.gate, both.signals) == (DR_GRPO.credit, DAPO.gate, DAPO.signals)
    assert both.name == "dr-grpo.only(credit) + dapo"
    assert both.paper == "2503.20783 + 2503.14476"
    assert both.idea == ("gate", "signals.policy")
    assert both.fingerprint not in {one.fingerprint for one in EVERY.values()}
    assert explain(both) not in {explain(one) for one in EVERY.values()}
    assert differences(both, DAPO).seams == (("credit.0", "group_centered()", "group_standardized(std_floor=0.0001, unbiased=False)"),)


def test_two_ideas_for_one_signal_are_refused_with_the_ways_out():
    said = (
        "gspo + dapo: both have an idea for signals.policy, and the two differ: sequence_ratio(clip_low=0.0003, clip_high=0.0004), "
        "mean over groups of mean over rollouts, and clipped_surrogate(clip_low=0.2, clip_high=0.28, dual_clip=None), mean over tokens. "
        "Choose: gspo + dapo.only(gate); or a signals.policy of your own, with .but(signals=…)."
    )
    with pytest.raises(ValueError, match=re.escape(said)):
        GSPO + DAPO


def test_the_refused_pair_adds_up_once_one_idea_is_chosen():
    both = GSPO + DAPO.only("gate")
    assert both == method("gspo + dapo.only(gate)")
    assert both.gate == DAPO.gate
    assert both.signals == GSPO.signals
    assert both.parent == GSPO
    assert "DropFlat(refill=2" in explain(both)
    assert "ratio_R" in explain(both)


def test_the_order_of_a_sum_decides_the_setting_alone():
    own_setting = GSPO.but(tasks=8, update=AdamW(minibatch=4))
    first, second = own_setting + DAPO.only("gate"), DAPO.only("gate") + own_setting
    found = differences(first, second)
    assert [seam for seam, _, _ in found.seams] == ["update.minibatch", "tasks"]
    assert (GSPO + DAPO.only("gate")).fingerprint == (DAPO.only("gate") + GSPO).fingerprint


def test_an_idea_brings_the_reference_and_the_heads_that_it_reads():
    assert (DAPO.only("gate") + REINFORCE_PP.only("credit")).reference
    assert (DAPO.only("gate") + PPO).heads == PPO.heads
    assert not (DAPO + CISPO.only("signals.policy").but(signals=DAPO.signals)).reference


def test_an_idea_includes_those_of_the_ancestors_that_the_other_lacks():
    child = DAPO.but("child", idea=("credit",), credit=DR_GRPO.credit)
    assert (DAPO + child).idea == ("credit",)
    assert (GRPO + child).gate == DAPO.gate
    assert child.only("gate").gate == DAPO.gate


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: GSPO + GRPO, "grpo@strop-1 has no idea that gspo lacks"),
        (lambda: DAPO + DAPO, "dapo has no idea that dapo lacks"),
        (lambda: DAPO.only("gates"), "'gates' is not among them. Did you mean 'gate'"),
        (lambda: DAPO.only(), "only of what? The ideas of 'dapo' are gate, signals.policy"),
        (lambda: method("gspo + dipo.only(gate)"), "unknown method 'dipo'"),
        (lambda: method("gspo + dpo.only(gate)"), "'dpo' has no idea of its own"),
    ],
)
def test_a_sum_that_says_nothing_is_refused(build, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        build()


# Differences.


def test_equal_methods_differ_in_nothing():
    found = differences(GRPO, load(GRPO.to_json()).but("renamed"))
    assert (found.same, found.seams, found.lines) == (True, (), ())


@pytest.mark.parametrize("one", one_registered_method_per_name())
def test_a_difference_shows_in_constants_and_formula_or_not_at_all(one):
    for other in EVERY.values():
        found = differences(one, other)
        assert found.same == (not found.seams) == (not found.lines) == (one.fingerprint == other.fingerprint)


def test_a_changed_constant_is_one_row_and_the_lines_that_hold_it():
    wider = GRPO.but(signals={"policy": GRPO.signals["policy"].but(objective=clipped_surrogate(clip_high=0.28))})
    found = differences(GRPO, wider)
    assert found.seams == (("signals.policy.objective.clip_high", "0.2", "0.28"),)
    assert [line for line in found.lines if "gain_T" in line] == [
        "-     gain_T = min(ratio_T * credit_T, clip(ratio_T, 1 - 0.2, 1 + 0.2) * credit_T)",
        "+     gain_T = min(ratio_T * credit_T, clip(ratio_T, 1 - 0.2, 1 + 0.28) * credit_T)",
    ]
    assert found.lines[0].startswith("signal policy, over each minibatch")


# Log-probabilities.


def test_explain_says_which_log_probability_the_old_one_is():
    measured, sampled = "old_logp_T is measured: one pass of the learner", "old_logp_T is sampled_logp_T"
    assert measured in explain(PPO)
    assert sampled in explain(GRPO)
    assert "logp_T.detach()" not in explain(GRPO)
    assert "equals logp_T.detach()" in explain(GRPO.but(update=AdamW()))
    assert "old_logp_T is read by nothing here" in explain(method("rloo"))
    assert "since other weights or arithmetic drew the rollouts" in explain(GRPO, own=False)
    taught = GRPO.but(signals={"taught": Signal(sequence_ratio(), means("rollout"), on=teacher)})
    assert "except where the batch holds teacher text" in explain(taught)


def test_fields_of_a_method_are_identity_or_said():
    said = {"name", "paper", "idea", "parent", "notes", "pico_lr"}
    later = {f.name for f in dataclasses.fields(Method) if "added" in f.metadata}
    assert set(GRPO.describe()) == {f.name for f in dataclasses.fields(Method)} - said - later
    used = INTUITOR.but(compute=Quantized(), roles={"write": Role()}, marks=(pieces(),), policies={"other": Asked()}, memory=Bank())
    assert later <= set(used.describe()), "used, it is described"
