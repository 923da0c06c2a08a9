"""Intuitor against numbers made by hand, and what a grader's scores cost, survive and never are."""

import asyncio
import gzip
import json
from dataclasses import replace
from math import log

import pytest
import torch

from strop import grading, saved
from strop.batch import pack
from strop.claims.trace import Trace, in_step
from strop.directory import RunError, read_metrics
from strop.experiments.intuitor import GOLD, ranked_at_first, ranking
from strop.lab import tabular
from strop.lab.bias import Unsuitable, check
from strop.lab.tabular import Table, TabularPolicy
from strop.loop import Run
from strop.methods.dapo import DAPO
from strop.methods.grpo import GRPO
from strop.methods.intuitor import FROZEN, INTUITOR, RELEASED, certainty, self_certainty
from strop.policies.causal import load
from strop.recipe import Recipe
from strop.records import Author, Group, Incident, Rollout, Row, Sampling, Scores, Segment, Task
from strop.replay import fit
from strop.run import create, resume
from strop.seams.context import Ctx, Progress
from strop.seams.feed import WithDemos
from strop.seams.grader import chance
from strop.seams.objective import cross_entropy
from strop.seams.part import part
from strop.seams.reduction import means
from strop.seams.signal import Signal, teacher
from strop.tripwires import VERDICT, Tripped

SOURCE = Table(tasks=4)
RECIPE = Recipe(method=INTUITOR, model="table", steps=4, tasks=4, group=4, lr=0.1, eval_tasks=0, checkpoint_every=2)


def rollout(unit, prompt, *written, sampling=Sampling()):
    """One row: the prompt, then actions with an observation between them."""
    segments = [Segment("prompt", tuple(prompt), "p")]
    for i, tokens in enumerate(written):
        segments += [Segment("observation", (1, 2), f"o{i}")] if i else []
        segments.append(Segment("action", tuple(tokens), f"a{i}", Author("actor", 0, sampling), (-1.0,) * len(tokens)))
    return Rollout((Row.of(*segments),), unit)


def packed(*rollouts):
    return pack([Group(Task("x", {}, "s"), rollouts)], {}, {r.id: None for r in rollouts}, 0)


def scored(policy, *rollouts):
    def evaluate(groups, scorer, want):
        batch = pack(groups, {}, {r.id: None for r in rollouts}, 0)
        with torch.no_grad():
            return batch.with_(certainty_T=policy.evaluate(batch, want)["certainty_T"])

    ctx = Ctx(0, Progress(), SOURCE, {}, grade=None, evaluate=evaluate)
    return asyncio.run(self_certainty([Group(Task("x", {}, "s"), rollouts)], ctx))


# The number itself.


def table(*rows):
    """A policy whose distribution after each prefix of words `a` is a given one."""
    language = Table(vocab=4, length=len(rows)).language
    policy, at = TabularPolicy(1, language), 0
    with torch.no_grad():
        for row in rows:
            policy.logits[0, at] = torch.tensor(row, dtype=torch.float64).log()
            at = at * language.words + 1
    return policy


def test_by_hand_the_certainty_of_one_half_one_quarter_and_two_eighths_is_a_quarter_of_log_2():
    """-mean(log p) = (1 + 2 + 3 + 3) / 4 log 2, and log V = 2 log 2; of no preference at all it is 0."""
    policy = table([1 / 2, 1 / 4, 1 / 8, 1 / 8], [1 / 4, 1 / 4, 1 / 4, 1 / 4])
    found = policy.evaluate(packed(rollout("r", [4], [1, 0])), frozenset({"certainty_T"}))["certainty_T"]
    assert found.tolist() == pytest.approx([log(2) / 4, 0.0], abs=1e-12)
    assert scored(policy, rollout("r", [4], [1, 0])).get("r", "certainty") == pytest.approx(log(2) / 8, abs=1e-12)


def test_it_does_not_depend_on_which_token_was_drawn_but_on_what_could_have_been():
    policy = table([0.7, 0.1, 0.1, 0.1])
    scores = scored(policy, *(rollout(str(token), [4], [token]) for token in range(4)))
    assert len({scores.get(str(token), "certainty") for token in range(4)}) == 1


@pytest.fixture(scope="module")
def pico():
    return load("pico")


def plain(policy, tokens, places, temperature=1.0, allowed=None):
    """The mean over places of log sum exp(z) - mean(z) - log V, from a plain forward pass; the logits at a place predict the next token."""
    with torch.no_grad():
        z = policy.model(input_ids=torch.tensor([tokens])).logits[0].double()[places] / temperature
    z = z if allowed is None else z[:, list(allowed)]
    return (z.logsumexp(-1) - z.mean(-1) - log(z.shape[-1])).mean().item()


def test_it_is_over_exactly_the_distributions_that_the_actions_were_drawn_from(pico):
    """Three implementations that are wrong by a position or by a segment give other numbers, far from the tolerance."""
    prompt, first, second = [10, 20, 30, 40], [50, 60, 70], [80, 90]
    one = rollout("r", prompt, first, second)
    other = rollout("longer", [5] * 9, [61] * 7)
    value = scored(pico, one, other).get("r", "certainty")
    tokens = [*prompt, *first, 1, 2, *second]
    assert value == pytest.approx(plain(pico, tokens, [3, 4, 5, 8, 9]), rel=1e-4)
    wrong = {
        "one late, as Open-R1": [4, 5, 6, 9, 10],
        "one early": [2, 3, 4, 7, 8],
        "the observation too": [3, 4, 5, 6, 7, 8, 9],
        "the prompt too": list(range(10)),
    }
    for mistake, places in wrong.items():
        assert abs(plain(pico, tokens, places) - value) > 0.01, mistake


def test_temperature_and_allowed_ids_are_those_of_the_draw(pico):
    """Sharper drawing is surer; ids that could not be drawn are not among the V, however unlikely the others made them."""
    tokens, allowed = [10, 20, 30, 50, 60], (50, 60, 70, 80)
    for sampling in (Sampling(temperature=0.5), Sampling(allowed=allowed), Sampling(temperature=0.5, allowed=allowed)):
        value = scored(pico, rollout("r", tokens[:3], tokens[3:], sampling=sampling), rollout("plain", tokens[:3], tokens[3:]))
        assert value.get("r", "certainty") == pytest.approx(plain(pico, tokens, [2, 3], sampling.temperature, sampling.allowed), rel=1e-4)
        assert value.get("plain", "certainty") == pytest.approx(plain(pico, tokens, [2, 3]), rel=1e-4)


def test_chunks_of_the_vocabulary_change_nothing(pico, monkeypatch):
    batch = packed(rollout("r", [10, 20], [50, 60, 70, 80, 90]))
    whole = pico.evaluate(batch, frozenset({"certainty_T", "below_T"}))
    monkeypatch.setattr("strop.policies.causal.LOGITS_AT_ONCE", 2 * pico.model.config.vocab_size)
    cut = pico.evaluate(batch, frozenset({"certainty_T", "below_T"}))
    assert all(torch.allclose(whole[name], cut[name], atol=1e-5) for name in whole)
    assert not whole["certainty_T"].requires_grad
    assert "certainty_T" not in pico.evaluate(batch)


# In a run.


def certainty_of(run, record, scorer):
    groups = [Group.from_json(g) for g in record["groups"]]
    batch = run.evaluate(groups, scorer, frozenset({"certainty_T"}))
    mean_R = batch.index.mean(batch.tracks["certainty_T"].double(), "token", "rollout")
    return dict(zip(batch.units, mean_R.tolist(), strict=True))


def committed(record):
    return {unit: channels["certainty"] for unit, channels in record["scores"]["values"].items()}


def test_online_and_frozen_agree_before_the_first_update_and_differ_after_it(tmp_path):
    run = tabular.create(RECIPE, tmp_path / "run", SOURCE)
    run.train()
    records = [run.record(step) for step in range(run.step)]
    assert committed(records[0]) == pytest.approx(certainty_of(run, records[0], "frozen"), abs=1e-12)
    for record in records[2:]:  # warm-up: the first step's learning rate is 0
        now, start = committed(record), certainty_of(run, record, "frozen")
        assert max(abs(now[unit] - start[unit]) for unit in now) > 1e-3
    assert committed(records[-1]) != pytest.approx(certainty_of(run, records[-1], "online"), abs=1e-3), "before its own step's update"


def test_a_frozen_scorer_scores_with_the_start_throughout(tmp_path):
    run = tabular.create(RECIPE.but(method=FROZEN), tmp_path / "run", SOURCE)
    run.train()
    for step in range(run.step):
        record = run.record(step)
        assert committed(record) == pytest.approx(certainty_of(run, record, "frozen"), abs=1e-12)


def test_what_a_grader_asks_of_a_policy_is_on_the_bill_under_that_policys_name(tmp_path):
    for method, entry, other in ((INTUITOR, "scored", "reference/scored"), (FROZEN, "reference/scored", "scored")):
        run = tabular.create(RECIPE.but(method=method), tmp_path / method.name, SOURCE)
        run.train()
        lengths = [
            len(Row.from_json(row).tokens)
            for step in range(run.step)
            for g in run.record(step)["groups"]
            for m in g["rollouts"]
            for row in m["rows"]
        ]
        bill = read_metrics(run.directory)[-1]["bill"]
        assert bill[entry] == sum(lengths)
        assert not bill.get(other)


def test_a_resumed_run_scores_nothing_twice_and_goes_on_as_if_it_had_not_stopped(tmp_path, monkeypatch):
    def lines(directory):
        return [json.dumps({k: v for k, v in line.items() if k != "t"}) for line in read_metrics(directory)]

    for method in (INTUITOR, FROZEN):
        recipe = RECIPE.but(method=method, checkpoint_every=100)
        whole = tabular.create(recipe, tmp_path / f"{method.name}-whole", SOURCE)
        whole.train()
        cut = tabular.create(recipe, tmp_path / f"{method.name}-cut", SOURCE)
        with pytest.raises(KeyboardInterrupt):
            cut.train(show=stop_after(2))
        asked = []
        monkeypatch.setattr(Run, "evaluate", lambda run, *given, asked=asked: asked.append(run.step) or EVALUATE(run, *given))
        policy = TabularPolicy(SOURCE.tasks, SOURCE.language)
        resume(cut.directory, method=method, policy=policy, source=SOURCE, engine=tabular.engine).train()
        monkeypatch.setattr(Run, "evaluate", EVALUATE)
        assert asked == [3], "steps 0 to 2 were committed"
        assert lines(cut.directory) == lines(whole.directory)


EVALUATE = Run.evaluate


def stop_after(step):
    def show(line):
        if line["step"] == step:
            raise KeyboardInterrupt

    return show


def test_what_another_scorer_said_is_not_taken_for_ones_own(tmp_path):
    run = tabular.create(RECIPE.but(steps=1), tmp_path / "run", SOURCE)
    run.train()
    fit(INTUITOR, INTUITOR, run.directory)
    with pytest.raises(RunError, match="Grading is recorded with the rollouts, so this method needs a run of its own"):
        fit(INTUITOR, FROZEN, run.directory)


def test_demonstrations_beside_it_are_scored_and_trained(pico, tmp_path):
    """A teacher's text drew nothing, but it has its distributions: without a score it would be dropped."""
    taught = Signal(cross_entropy(), on=teacher, reduce=means("token"))
    recipe = Recipe(method=INTUITOR.but("taught", feed=WithDemos(demos=1), signals={"taught": taught}), steps=1, tasks=2, group=2)
    run = create(recipe.but(max_tokens=8, eval_tasks=0, slots=16, task="chain:steps=2"), tmp_path / "run")
    run.train()
    record = run.record(0)
    demo = next(r for g in record["groups"] if g["role"] == "demo" for r in g["rollouts"])
    tokens = [t for row in demo["rows"] for s in row["segments"] for t in s["tokens"]]
    start = next(len(s["tokens"]) for row in demo["rows"] for s in row["segments"])
    said = plain(pico, tokens, list(range(start - 1, len(tokens) - 1)))
    assert committed(record)[demo["id"]] == pytest.approx(said, rel=1e-4)
    assert record["fates"][demo["id"]][0] == "keep"


def test_the_sources_verdict_stays_beside_the_graders(tmp_path):
    run = tabular.create(RECIPE.but(method=INTUITOR.but("both", graders=(self_certainty(), chance))), tmp_path / "run", SOURCE)
    run.train()
    line = read_metrics(run.directory)[-1]
    assert {"outcome", "lenient", "certainty", "chance"} <= line.keys()
    assert line["reward"] == line["certainty"] != line["outcome"]


def test_training_on_certainty_makes_a_policy_certain(tmp_path):
    run = tabular.create(RECIPE.but(steps=30, lr=0.3), tmp_path / "run", SOURCE)
    run.train()
    lines = read_metrics(run.directory)
    assert sum(line["certainty"] for line in lines[-5:]) > 2 * sum(line["certainty"] for line in lines[:5])


# What a grader cannot say.


@part(gives="odd")
async def odd(groups, ctx):
    """Scores one rollout, gives no number for another, and says nothing of the third; a fourth it explains."""
    names = [r.id for g in groups for r in g.rollouts]
    values = {names[0]: {"odd": 0.5}, names[1]: {"odd": float("nan")}, names[3]: {"odd": None}}
    return Scores(values, incidents=(Incident(names[3], "odd", "the judge was out"),))


@part(gives="broken")
async def broken(groups, ctx):
    raise OSError("no judge at the other end")


@part(gives="slow")
async def slow(groups, ctx):
    await asyncio.sleep(60)
    return Scores()


def judged(*graders, seconds=0.05):
    group = Group(Task("x", {}, "s"), tuple(Rollout((), name) for name in "abcd"))
    return asyncio.run(grading.judged(graders, [group], Ctx(0, Progress(), SOURCE, {}, grade=None), seconds))


def test_a_score_that_is_missing_or_no_number_is_none_with_the_reason_and_never_zero():
    scores = judged(odd)
    assert [scores.get(name, "odd") for name in "abcd"] == [0.5, None, None, None]
    assert {i.unit: i.why for i in scores.incidents} == {"b": "grader returned nan", "c": "grader gave no answer", "d": "the judge was out"}


def test_a_grader_that_raises_or_hangs_takes_nothing_else_with_it():
    scores = judged(broken, slow, odd)
    assert [scores.get("a", name) for name in ("broken", "slow", "odd")] == [None, None, 0.5]
    why = {i.channel: i.why for i in scores.incidents if i.unit == "a"}
    assert why == {"broken": "grader raised OSError: no judge at the other end", "slow": "grader did not answer within 0.05 s"}


def test_a_rollout_without_a_decision_has_no_certainty():
    empty = Rollout((Row.of(Segment("prompt", (4,), "p")),), "empty")
    assert scored(table([0.25] * 4), empty, rollout("r", [4], [0])).values.keys() == {"r"}


def test_a_run_whose_own_grader_fails_is_stopped_with_its_reason(tmp_path):
    run = tabular.create(RECIPE.but(method=GRPO.but("x", graders=(broken,), reward=by_broken)), tmp_path / "run", SOURCE)
    with pytest.raises(Tripped, match=r"16 of 16 rollouts could not be graded .*no judge at the other end"):
        run.train()


@part(gives="reward_R")
def by_broken(broken_R):
    return broken_R


# What is refused, and what it is.


@pytest.mark.parametrize(
    ("graders", "words"),
    [
        ((self_certainty(scorer="frozen"),), "scores with the frozen start, so it needs reference=True"),
        ((self_certainty(scorer="onlin"),), "unknown scorer 'onlin'. Did you mean 'online'"),
        ((chance, chance), "gives the channel 'chance', which is given already"),
        ((certainty,), r"reads certainty_R: a grader reads groups and ctx"),
        (("certainty",), "is a part, got 'certainty'"),
    ],
)
def test_a_grader_that_cannot_be_asked_is_refused_when_the_method_is_built(graders, words):
    with pytest.raises(ValueError, match=words):
        GRPO.but("x", graders=graders)


def test_the_lab_of_verdicts_refuses_a_reward_that_is_no_verdict():
    with pytest.raises(Unsuitable, match="a score of its own graders"):
        check(INTUITOR, "first")


def test_against_grpo_the_graders_the_reward_and_a_kl_change_and_the_rest_is_setting():
    mine, theirs = INTUITOR.describe(), GRPO.describe()
    differs = {seam for seam in mine if mine[seam] != theirs.get(seam)}
    assert differs == {"graders", "reward", "signals", "reference", "update"}
    assert mine["signals"]["policy"] == theirs["signals"]["policy"]


def test_the_released_form_averages_over_tokens_and_adds_its_epsilon():
    mine, theirs = RELEASED.describe(), INTUITOR.describe()
    assert {seam for seam in mine if mine[seam] != theirs[seam]} == {"credit", "signals"}
    assert {signal.reduce.words() for signal in RELEASED.signals.values()} == {"mean over tokens"}


def test_the_idea_travels_with_the_frozen_start_that_it_reads():
    both = DAPO + INTUITOR
    assert (both.graders, both.reward, both.reference) == (INTUITOR.graders, certainty, True)
    only = DAPO + replace(FROZEN, idea=("graders",)).only("graders")
    assert only.reference


def test_a_saved_intuitor_loads_equal_and_methods_without_graders_keep_their_fingerprint():

    assert saved.load(json.loads(json.dumps(FROZEN.to_json()))) == FROZEN
    assert "graders" not in GRPO.describe()
    assert GRPO.but(graders=(chance,)).fingerprint != GRPO.fingerprint


def test_no_tripwire_about_verdicts_watches_a_run_that_reads_none(tmp_path):
    silent = {m.name: tabular.create(RECIPE.but(method=m), tmp_path / m.name, SOURCE).watch.silent for m in (INTUITOR, GOLD)}
    assert VERDICT in silent["intuitor"]["constant-grader"]
    assert VERDICT not in silent["gold-reward"]["constant-grader"]
    assert {name for name, needs in silent["intuitor"].items() if needs != silent["gold-reward"].get(name)} == {"constant-grader"}


# What its claims read.


def recorded(name, units):
    """A group of rollouts without tokens, as a step commits it."""
    return Group(Task(name, {}, "none"), tuple(Rollout((), unit) for unit in units), id=name).to_json()


def trace(tmp_path, *steps):
    """A trace whose steps hold groups of (reward, outcome) pairs."""
    (tmp_path / "groups").mkdir(exist_ok=True)
    for number, groups in enumerate(steps):
        units = [[(f"{number}/{g}/{i}", *pair) for i, pair in enumerate(group)] for g, group in enumerate(groups)]
        record = {
            "groups": [recorded(f"{number}/{g}", [unit for unit, _, _ in group]) for g, group in enumerate(units)],
            "rewards": {unit: reward for group in units for unit, reward, _ in group},
            "step": number,
            "version": number,
            "fates": {},
            "state": {},
            "bill": {},
            "ledger": {"last": {}, "successes": {}, "trials": {}},
            "scores": Scores({unit: {"outcome": verdict} for group in units for unit, _, verdict in group}).to_json(),
        }
        (tmp_path / "groups" / f"{number:06d}.json.gz").write_bytes(gzip.compress(json.dumps(record).encode()))
    lines = "".join(json.dumps({"step": i, "bill": {"decoded": 10 * (i + 1)}, "entropy": 0.5 - i}) + "\n" for i in range(len(steps)))
    (tmp_path / "metrics.jsonl").write_text(lines)
    return Trace("x", 0, tmp_path, "decoded", {})


def test_the_ranking_is_the_share_of_right_and_wrong_siblings_in_order_by_hand(tmp_path):
    """Two right among four: pairs (3,1) (3,2) won, (1,1) tied, (1,2) lost: 2.5 of 4. Another group's rewards are no sibling's."""
    first = [[(3.0, 1.0), (1.0, 1.0), (1.0, 0.0), (2.0, 0.0)], [(100.0, 0.0), (200.0, 0.0)]]
    second = [[(5.0, 1.0), (4.0, 0.0), (9.0, None)]]
    found = trace(tmp_path, first, second)
    assert ranking(found) == [(10, 2.5 / 4), (20, 3.5 / 5)]
    assert ranked_at_first(found, steps=1) == 2.5 / 4
    assert in_step(found, name="entropy", step=-1) == -0.5


def test_a_score_of_chance_ranks_at_a_half_and_knows_its_seed():
    groups = [Group(Task(str(g), {}, "s"), tuple(Rollout((), f"{g}/{i}") for i in range(8))) for g in range(500)]
    drawn = [asyncio.run(chance(groups, Ctx(seed, Progress(), SOURCE, {}, grade=None))) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    values = [drawn[0].get(r, "chance") for g in groups for r in g.rollouts]
    assert sum(values) / len(values) == pytest.approx(0.5, abs=4 / (12 * 4000) ** 0.5)
