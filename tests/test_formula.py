"""What `strop explain` prints is what the code computes."""

from __future__ import annotations

import pytest
from test_invariance import CASES

from strop.check.formulas import in_float64, largest
from strop.cli import main
from strop.identity import explain
from strop.methods import METHODS, method
from strop.seams.reward import outcome_and_format
from strop.seams.signal import linear, warmup_cosine
from strop.seams.update import AdamW

BATCHES = 50


@pytest.fixture(autouse=True)
def _in_float64():
    with in_float64():
        yield


LOOSE = {name: one for name, one in CASES.items() if not name.startswith("method ") and name != "never zero"}
"""Every part by itself, around GRPO; `never zero` is a test's own part and has no formula."""
LOOSE["schedules"] = CASES["everything"].but(
    reward=outcome_and_format(format_share=0.3),
    signals={
        "kl": CASES["everything"].signals["kl"].but(weight=linear(start=0.5, end=0.1)),
        "value": CASES["everything"].signals["value"].but(weight=warmup_cosine(warmup=0.1, floor=0.2)),
        "entropy": CASES["everything"].signals["entropy"].but(weight=warmup_cosine(warmup=0.5)),
    },
    update=AdamW(schedule=linear()),
)


@pytest.mark.parametrize("name", METHODS)
def test_what_explain_prints_of_a_method_is_what_the_code_computes(name, capsys):
    main(["explain", name])
    difference, felt = largest(method(name), capsys.readouterr().out, BATCHES)
    assert difference <= 1e-10
    taught = all(signal.on.kinds == ("teacher",) and not signal.on.side for signal in method(name).signals.values())
    assert felt >= (BATCHES // 2 if taught else BATCHES), "half of the batches hold text of a teacher"


@pytest.mark.parametrize("name", LOOSE)
def test_the_formula_of_every_part_is_what_it_computes(name):
    difference, felt = largest(LOOSE[name], explain(LOOSE[name]), 8)
    assert difference <= 1e-10
    assert felt >= 2


def test_a_sum_of_methods_computes_what_it_prints(capsys):
    main(["explain", "gspo + dr-grpo.only(credit)"])
    assert largest(method("gspo + dr-grpo.only(credit)"), capsys.readouterr().out, 8)[0] <= 1e-10


@pytest.mark.parametrize(
    ("name", "said", "wrongly"),
    [
        ("grpo", "mean(reward_R, group)", "mean(reward_R, batch)"),
        ("grpo", "std(reward_R, group)", "std(reward_R, batch)"),
        ("grpo", "1 + 0.2", "1 + 0.28"),
        ("grpo", "1 - 0.2", "1 - 0.1"),
        ("grpo", "min(ratio_T", "max(ratio_T"),
        ("grpo", "active(rollout, group)", "count(rollout, group)"),
        ("grpo", "active(group, batch)", "count(group, batch)"),
        ("grpo", "count(token, rollout)", "count(token, group)"),
        ("grpo", "weight_R * ", ""),
        ("grpo", "where trains_T and action_T", "where action_T"),
        ("grpo", "where trains_T and action_T", "where trains_T"),
        ("ppo", "where(truncated_R, old_value_T, 0)", "0"),
        ("ppo", "batch, trained_T)", "batch)"),
        ("ppo", "last(rollout)", "trained_T"),
        ("ppo", "0.5 * value", "1 * value"),
        ("reinforce++", "0.01 * log_ratio_T", "0.01 * log_ratio_T ** 2"),
        ("cispo", "detach(clip(ratio_T, 0, 1 + 0.28))", "clip(ratio_T, 0, 1 + 0.28)"),
        ("rloo", "max(n_G - 1, 1)", "max(n_G, 1)"),
        ("gspo", "mean(logp_T - old_logp_T, rollout)", "sum(logp_T - old_logp_T, rollout)"),
    ],
)
def test_a_wrong_word_in_what_is_printed_is_noticed(name, said, wrongly):
    text = explain(method(name))
    assert said in text
    assert largest(method(name), text.replace(said, wrongly), 12)[0] > 1e-6
