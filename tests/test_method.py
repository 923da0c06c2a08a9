import dataclasses
import json
import re
from typing import Any

import pytest
import torch
from torch import Tensor

from strop import saved
from strop.identity import explain
from strop.method import SETTING, Method
from strop.methods import METHODS, method
from strop.methods.dr_grpo import DR_GRPO
from strop.methods.grpo import GRPO
from strop.methods.ppo import PPO
from strop.recipe import Recipe
from strop.records import Sampling
from strop.saved import load
from strop.seams.correction import masked, truncated
from strop.seams.credit import batch_whiten, gae, group_centered, kl_in_reward, returns_to_go, reward_itself
from strop.seams.curriculum import Epochs, Uniform
from strop.seams.formula import reread
from strop.seams.gate import DropFlat, Duplicate, MaskOverlong
from strop.seams.grader import chance
from strop.seams.head import Head, value
from strop.seams.index import Index
from strop.seams.objective import clipped_surrogate, cross_entropy, importance_sampling, kl_to, policy_gradient, sequence_ratio
from strop.seams.part import Part, part
from strop.seams.reduction import means, over, power_of, sum_over
from strop.seams.reward import outcome_and_format
from strop.seams.sampler import Independent
from strop.seams.signal import Signal, Where, linear, random_share, spans, teacher
from strop.seams.update import AdamW

SURROGATE = Signal(clipped_surrogate(), means("token"))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_builds_and_says_what_it_is(name):
    one = method(name)
    assert one.name == name
    assert re.fullmatch(r"\d{4}\.\d{5}", one.paper)
    assert one.signals
    assert json.loads(json.dumps(one.describe())) == one.describe()
    assert re.fullmatch("[0-9a-f]{12}", one.fingerprint)


def test_no_two_methods_are_the_same():
    assert len({method(name).fingerprint for name in METHODS}) == len(METHODS)


SET_UP = {
    "flowrl": {"credit", "update"},
    "treepo": {"gate", "signals", "update", "tasks"},
    "swarm@genrl-0.1.4": {"signals"},
    "ada-grpo": {"credit"},
    "grpo-roc": {"credit", "signals"},
    "svs": {"credit", "signals", "gate"},
    "raml": {"sampler", "marks", "reward", "credit", "signals"},
    "parallel-grpo": {"credit"},
}
"""What differs beside the idea: numbers of the paper's set-up."""


@pytest.mark.parametrize("name", [name for name in METHODS if name not in (GRPO.name, "dpo", "sft")])
def test_a_method_differs_from_its_parent_in_the_seams_it_names(name):
    one = method(name)
    said = {idea.split(".")[0] for idea in one.idea}
    assert one.parent is not None
    differs = {key for key, value in one.describe().items() if value != one.parent.describe().get(key)}
    assert differs - set(SETTING) - SET_UP.get(name, set()) <= said <= differs


def test_an_unknown_method_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match=r"unknown method 'grop'\. Did you mean 'grpo'"):
        method("grop")


def test_the_method_of_a_stage_is_named_with_where_it_is_to_be_had(tmp_path):
    with pytest.raises(ValueError, match=r"'sft-graphs' is the method of a stage of 'websailor'.*FILE\.py:IMITATED") as refused:
        method("sft-graphs")
    line = str(refused.value).split("`")[1]
    (tmp_path / "mine.py").write_text(f"{line}\n")
    assert method(f"{tmp_path}/mine.py:IMITATED").name == "sft-graphs"


def other(value: Any) -> Any:
    """A value that differs."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1 if isinstance(value, int) else value * 0.5 + 0.01
    if isinstance(value, str):
        return {"token": "sequence", "k1": "k3"}.get(value, value + "x")
    return 3.0 if value is None else None


def links() -> list[tuple[str, Part]]:
    found: dict[str, Part] = {}
    for name in METHODS:
        one = method(name)
        for each in (*one.credit, one.correction, one.reward, *(s.objective for s in one.signals.values())):
            found.setdefault(each.name, each)
    for each in (truncated, masked, kl_to, outcome_and_format, gae, linear):
        found.setdefault(each.name, each)
    return [(constant, each) for each in found.values() for constant in each.constants]


@pytest.mark.parametrize(("constant", "each"), links(), ids=lambda value: value if isinstance(value, str) else value.name)
def test_a_constant_of_a_part_changes_its_description(constant, each):
    assert each(**{constant: other(each.constants[constant])}).describe() != each.describe()


CHANGES = {
    "graders": (chance,),
    "reward": outcome_and_format(),
    "credit": (group_centered(),),
    "sampler": Independent(n=7, max_tokens=128),
    "curriculum": Uniform(),
    "gate": (DropFlat(),),
    "correction": truncated(),
    "update": AdamW(lr=2e-6, minibatch=16),
    "tasks": 31,
    "heads": (value,),
    "reference": True,
}


@pytest.mark.parametrize("seam", CHANGES)
def test_changing_a_seam_changes_the_fingerprint(seam):
    assert GRPO.but(**{seam: CHANGES[seam]}).fingerprint != GRPO.fingerprint


@pytest.mark.parametrize(
    "changed",
    [
        SURROGATE.but(reduce=means("rollout", "token")),
        SURROGATE.but(reduce=means(sum_over("token"))),
        SURROGATE.but(reduce=means(over("token", 128))),
        SURROGATE.but(reduce=means(power_of("token", 0.5))),
        SURROGATE.but(weight=0.5),
        SURROGATE.but(weight=linear()),
        SURROGATE.but(on=teacher),
        SURROGATE.but(on=spans("late")),
        SURROGATE.but(on=random_share(0.5)),
        SURROGATE.but(objective=clipped_surrogate(clip_high=0.28)),
        SURROGATE.but(objective=clipped_surrogate(dual_clip=3.0)),
    ],
    ids=str,
)
def test_changing_anything_in_a_signal_changes_the_fingerprint(changed):
    plain = GRPO.but(signals={"policy": SURROGATE})
    assert plain.but(signals={"policy": changed}).fingerprint != plain.fingerprint


@pytest.mark.parametrize("record", [AdamW(), Independent(), DropFlat(), MaskOverlong()], ids=lambda r: type(r).__name__)
def test_changing_any_field_of_a_record_changes_the_fingerprint(record):
    seam = {"AdamW": "update", "Independent": "sampler", "DropFlat": "gate", "MaskOverlong": "gate"}[type(record).__name__]
    built = {dataclasses.replace(record, **change) for change in fields_changed(record)} | {record}
    prints = {GRPO.but(**{seam: (r,) if seam == "gate" else r}).fingerprint for r in built}
    assert len(prints) == len(built) == len(dataclasses.fields(record)) + 1


def fields_changed(record: Any) -> list[dict[str, Any]]:
    special = {
        "betas": (0.8, 0.99),
        "schedule": linear(),
        "minibatch": 8,
        "pieces": 2,
        "sampling": dataclasses.replace(record.sampling, temperature=0.7) if hasattr(record, "sampling") else None,
        "stop": ("x",),
    }
    return [{f.name: special[f.name] if f.name in special else other(getattr(record, f.name))} for f in dataclasses.fields(record)]


def test_names_and_papers_are_not_identity():
    assert GRPO.but("mine", paper="none", idea=("credit",)).fingerprint == GRPO.fingerprint


def test_signals_are_merged_by_name():
    both = GRPO.but(signals={"kl": Signal(kl_to(), means("token"), weight=0.04)}, reference=True)
    assert list(both.signals) == ["policy", "kl"]
    assert both.signals["policy"] == GRPO.signals["policy"]


@part()
def reads_old_value(old_value_T: Tensor) -> Tensor:
    return old_value_T


@part()
def reads_the_trained(logp_T: Tensor, trained_T: Tensor) -> Tensor:
    return logp_T * trained_T


@part(gives="reward_R")
def reads_decisions(age_T: Tensor) -> Tensor:
    return age_T


@part(gives="credit_R")
def reads_outcom(outcom_R: Tensor) -> Tensor:
    return outcom_R


@part()
def reads_a_typo(logp_T: Tensor, sampled_lop_T: Tensor) -> Tensor:
    return logp_T + sampled_lop_T


@part(gives="credit_T")
def credit_from_entropy(entropy_T: Tensor) -> Tensor:
    return entropy_T


@part(gives="bonus_T")
def bonus(age_T: Tensor) -> Tensor:
    return age_T


@part()
def reads_bonus(logp_T: Tensor, bonus_T: Tensor) -> Tensor:
    return -logp_T * bonus_T


@part()
def silent(reward_R: Tensor) -> Tensor:
    return reward_R


def signal(objective: Part) -> dict[str, Signal]:
    return {"policy": Signal(objective, means("token"))}


REFUSED = {
    "no signal": ({"signals": {}}, "has no signal"),
    "no task": ({"tasks": 0}, "at least one task"),
    "one rollout against its siblings": ({"sampler": Independent(n=1)}, "needs a group of at least 2, got 1. Raise the sampler's n"),
    "no ratio over several updates": (
        {"signals": signal(policy_gradient())},
        "no importance ratio, but the update makes 2 optimiser steps",
    ),
    "no ratio over several epochs": ({"signals": signal(policy_gradient()), "update": AdamW(epochs=3)}, "makes 3 optimiser steps"),
    "a reference nobody keeps": ({"signals": signal(kl_to())}, "reads reference_logp_T, so it needs reference=True"),
    "a reference nobody keeps, in credit": ({"credit": (kl_in_reward(), returns_to_go())}, "needs reference=True"),
    "a value nobody gives": ({"credit": (gae(),)}, "reads old_value_T, so it needs heads=(Head('value'),)"),
    "a value nobody gives, in an objective": ({"signals": signal(reads_old_value)}, "needs heads=(Head('value'),)"),
    "a gate for one group behind one for the step": (
        {"gate": (Duplicate(), DropFlat())},
        "gate[1] DropFlat(refill=0, tolerance=0, of='reward') looks at one group, and stands behind Duplicate()",
    ),
    "a reward that reads decisions": (
        {"reward": reads_decisions},
        "a reward reads channels as <channel>_R (outcome_R, lenient_R, a grader's), and fraction, index, length_R, step",
    ),
    "a credit that reads a channel with a typo": (
        {"credit": (reads_outcom,)},
        "reads outcom_R, which nobody provides. Did you mean 'outcome_R'",
    ),
    "a name with a typo": ({"signals": signal(reads_a_typo)}, "reads sampled_lop_T, which nobody provides. Did you mean 'sampled_logp_T'"),
    "an objective that wants a mask": ({"signals": signal(reads_the_trained)}, "reads trained_T, which nobody provides"),
    "a credit of the moving policy": ({"credit": (credit_from_entropy,)}, "reads entropy_T, which moves during the update"),
    "no credit at all": ({"credit": ()}, "reads credit_T, which no link of its credit gives before it. Credit: []"),
    "links in the wrong order": ({"credit": (batch_whiten(), reward_itself())}, "credit[0] 'batch_whiten' reads credit_T, which no link"),
    "a link that gives nothing": ({"credit": (silent,)}, "credit[0] 'silent' does not say what it gives"),
    "a head that is a word": ({"heads": ("value",)}, "a head is a record, Head('value'), got the bare 'value'"),
    "two heads of one name": ({"heads": (value, Head("value", per="prompt"))}, "two heads have one name"),
    "a head of another name": ({"heads": (Head("valu"),), "credit": (gae(),)}, "reads old_value_T, so it needs heads=(Head('value'),)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_method_that_makes_no_sense_is_refused_in_words(case):
    changes, words = REFUSED[case]
    seams: dict[str, Any] = {f.name: getattr(GRPO, f.name) for f in dataclasses.fields(Method)} | changes
    with pytest.raises(ValueError, match=re.escape(words)) as refusal:
        Method(**seams)
    assert repr(GRPO.name) in str(refusal.value)


def test_an_objective_may_read_what_a_link_of_the_credit_gives():
    assert GRPO.but(credit=(group_centered(), bonus), signals=signal(reads_bonus)).needs("bonus_T")
    assert PPO.needs("return_T")
    assert not GRPO.needs("entropy_T")


def test_a_supervised_method_needs_no_credit():
    seams = {f.name: getattr(GRPO, f.name) for f in dataclasses.fields(Method)}
    Method(**seams | {"credit": (), "signals": {"sft": Signal(cross_entropy(), means("token"), on=teacher)}})


def test_one_update_may_go_without_a_ratio_and_several_with_one():
    GRPO.but(signals=signal(policy_gradient()), update=AdamW(minibatch=None))
    GRPO.but(signals=signal(importance_sampling()), update=AdamW(epochs=4, minibatch=8))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: GRPO.but(credits=()), "a method has no seam 'credits'. Did you mean 'credit'"),
        (lambda: Signal(sequence_ratio(), means("token")), "gives one loss per rollout, but its reduction ends at 'token'"),
        (lambda: Signal(clipped_surrogate(), means("rollout")), "write means(..., 'token')"),
        (lambda: AdamW(lr=-1.0), "a learning rate is at least 0"),
        (lambda: AdamW(lr=float("nan")), "a learning rate is at least 0"),
        (lambda: AdamW(epochs=0), "needs at least 1"),
        (lambda: AdamW(minibatch=0), "at least 1 group"),
        (lambda: AdamW(clip_norm=0.0), "needs a positive norm, or None"),
        (lambda: Independent(n=0), "Independent(n=0): needs at least 1"),
        (lambda: GRPO.but(sampler=Independent(sampling=Sampling(top_p=0.9))), "Train with top_p=1, top_k=0"),
        (lambda: random_share(0.0), "a share lies in (0, 1]"),
        (lambda: spans("a") | teacher, "only selections by kind"),
        (lambda: Where(kinds=("teachr",)), "unknown kind 'teachr'. Did you mean 'teacher'"),
    ],
)
def test_a_record_that_makes_no_sense_is_refused_in_words(build, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        build()


@pytest.mark.parametrize(
    ("groups", "update", "steps"), [(32, AdamW(), 1), (32, AdamW(minibatch=16), 2), (33, AdamW(epochs=2, minibatch=16), 6)]
)
def test_optimiser_steps_per_batch_by_hand(groups, update, steps):
    assert update.updates(groups) == steps


# A part on other data.


def test_a_part_reads_something_else_in_its_place():
    other = group_centered.reading(reward_R="format_R")
    assert other.reads == ("format_R", "index")
    assert other.says() == "credit_R = format_R - mean(format_R, group)"
    have = {"format_R": torch.tensor([1.0, 0.0]), "index": Index.one_group(2)}
    assert torch.equal(other.on(have), torch.tensor([0.5, -0.5]))
    assert other != group_centered
    assert repr(other) == "group_centered().reading(reward_R='format_R')"


def test_what_it_reads_is_part_of_the_method_and_comes_back_when_saved():
    one = GRPO.but("mine", credit=(group_centered.reading(reward_R="lenient_R"),))
    assert one.fingerprint != GRPO.but("mine", credit=(group_centered,)).fingerprint
    assert saved.load(one.to_json()) == one
    assert "group_centered().reading(reward_R='lenient_R')" in explain(one)


@pytest.mark.parametrize(
    ("instead", "said"),
    [
        ({"rewards_R": "format_R"}, "does not read rewards_R. Did you mean 'reward_R'"),
        ({"reward_R": "logp_T"}, "reads reward_R, one number per rollout, and logp_T is one per token"),
    ],
)
def test_what_it_cannot_read_is_refused(instead, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        group_centered.reading(**instead)


def test_a_formula_that_gives_what_it_reads_is_reread_up_to_there():
    assert reread("reward_R = reward_R - 1\nx_R = reward_R", {"reward_R": "format_R"}) == "reward_R = format_R - 1\nx_R = reward_R"


@part(gives="reward_R")
def of_length(length_T: Tensor) -> Tensor:
    return length_T


@part(gives="factor")
def of_steps(step: float) -> float:
    return step


def test_a_reward_reads_channels_and_a_schedule_how_far_the_run_is():
    with pytest.raises(ValueError, match="its reward 'of_length' reads length_T: a reward reads channels as <channel>_R"):
        GRPO.but("mine", reward=of_length)
    with pytest.raises(ValueError, match=r"the schedule of update 'of_steps' reads step: a schedule reads fraction"):
        GRPO.but("mine", update=AdamW(schedule=of_steps))
    with pytest.raises(ValueError, match=r"the weight of signals\.policy 'of_steps' reads step"):
        GRPO.but("mine", signals={"policy": GRPO.signals["policy"].but(weight=of_steps)})


def test_a_method_says_its_rate_on_the_bundled_model_and_a_new_recipe_takes_it_where_nobody_gave_one():
    gentle = GRPO.but(pico_lr=1e-5)
    assert gentle.fingerprint == GRPO.fingerprint, "what a recipe may say anew is no part of what it computes"
    assert Recipe(method=gentle).paced().lr == 1e-5
    for own in (Recipe(method=gentle, lr=3e-4), Recipe(method=gentle, model="gpt2"), Recipe()):
        assert own.paced() == own
    assert gentle.but("child", credit=(group_centered(),)).pico_lr == 1e-5
    assert (gentle + DR_GRPO).pico_lr == (DR_GRPO + gentle.but("calm", gate=(DropFlat(),))).pico_lr == 1e-5, "a sum takes the gentler rate"
    assert load(json.loads(json.dumps(gentle.to_json()))).pico_lr == 1e-5
    with pytest.raises(ValueError, match="pico_lr='fast'; a learning rate is a number"):
        GRPO.but(pico_lr="fast")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sampler": None}, "its sampler is something with __call__ and footprint and group_size, got None"),
        ({"curriculum": Epochs}, "its curriculum is something with .*That is a class: make one, Epochs\\(…\\)"),
        ({"curriculum": "epochs"}, "its curriculum is something with init and pick and observe, got 'epochs'"),
        ({"feed": None}, "its feed is something with fresh and take, got None"),
        ({"environment": "calculator"}, "its environment is something with start and reply, got 'calculator'"),
        ({"gate": (3,)}, r"its gate\[0\] is something that is called with \(group, seen\)"),
        ({"gate": DropFlat()}, "its gate is a tuple of gates, got DropFlat"),
        ({"signals": {"policy": None}}, r"its signals\['policy'\] is Signal\(objective, …\), got None"),
        ({"roles": {"write": 3}}, r"its roles\['write'\] is Role\(…\), got 3"),
        ({"update": 3}, r"its update is AdamW\(…\) or Still\(\), got 3"),
        ({"tasks": "many"}, "its tasks is a whole number, got 'many'"),
        ({"tasks": 2.5}, "its tasks is a whole number, got 2.5"),
        ({"tasks": True}, "its tasks is a whole number, got True"),
        ({"reference": "yes"}, "its reference is True or False, got 'yes'"),
        ({"compute": "int8"}, "its compute is EXACT or Quantized"),
        ({"name": 3}, "its name is a text, got 3"),
    ],
    ids=lambda v: str(v) if isinstance(v, dict) else "",
)
def test_what_stands_at_a_seam_is_of_its_kind(changes, said):
    with pytest.raises(ValueError, match=said):
        GRPO.but(**{"name": "odd", **changes})
