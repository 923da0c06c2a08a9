"""Connecting chooses what covers most, as a loop over its candidates does; a run with it is killed and goes on; the claim's readings."""

import random
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from strop.claims import runner
from strop.claims.claim import HeldOut, Profile
from strop.claims.trace import read
from strop.directory import cut_metrics, read_commit, read_metrics
from strop.experiments.coverage import JOINED, PREDICTS, own_tables, shuffled
from strop.fragments import covered, largest, numbered
from strop.lab.coverage import auroc
from strop.methods.coverage import COVERAGE
from strop.methods.sft import SFT
from strop.recipe import Recipe
from strop.run import create, resume
from strop.seams.context import keyed
from strop.seams.curriculum import Connecting
from strop.tasks.chain import Chain
from strop.tasks.twohop import TwoHop

SMALL = Connecting(start=40, add=6, among=9, each=2)
POOL = TwoHop(tokens=6, train=70)


def by_hand(pool, how, seed):
    """Candidate by candidate, from the examples as texts."""
    pairs = [((task := pool.task("train", seed, i)).prompt, pool.gold(task)) for i in range(pool.size)]
    chosen, rng = list(range(how.start)), keyed(seed, "connecting")
    while len(chosen) < how.start + how.add:
        others = [i for i in range(len(pairs)) if i not in chosen]
        tried = rng.sample(others, how.among)

        def gain(one, others=others, chosen=tuple(chosen)):
            seen, asked, _, _ = numbered([pairs[i] for i in [*chosen, one]], [pairs[i] for i in others])
            return covered(seen, asked, how.k).sum()

        chosen += sorted(tried, key=gain, reverse=True)[: how.each]
    return chosen


def test_it_adds_what_covers_most():
    assert SMALL.chosen(POOL, 3) == by_hand(POOL, SMALL, 3)
    assert SMALL.chosen(POOL, 3) != SMALL.chosen(POOL, 4)


def test_what_it_adds_covers_more_held_out_questions_than_what_chance_adds():
    pool, shares = TwoHop(tokens=10, train=330, tables=1), []
    for among in (20, 5):
        chosen = Connecting(start=150, add=30, among=among, each=5).chosen(pool, 0)
        tasks = [pool.task("train", 0, i) for i in chosen]
        held = [pool.task("test", 0, i) for i in range(pool.sizes["test"])]
        seen, asked, _, _ = numbered([(t.prompt, t.needs["answer"]) for t in tasks], [(t.prompt, "") for t in held])
        shares.append(covered(seen, asked, 2).mean())
    assert shares[0] > shares[1] + 0.1


def test_every_chosen_task_comes_once_an_epoch_and_no_other_comes(tmp_path):
    one = COVERAGE.but("small-coverage", idea=("curriculum",), curriculum=SMALL, tasks=23)
    recipe = Recipe(
        method=one, model="seedling:layers=2,hidden=32,heads=2", task="twohop:tokens=6,train=70", steps=4, lr=1e-3, eval_tasks=0
    )
    create(recipe.but(checkpoint_every=2), tmp_path / "run").train()
    lines = read_metrics(tmp_path / "run")
    steps = [[g["task"]["meta"]["index"] for g in read_commit(tmp_path / "run", step)["groups"]] for step in range(4)]
    assert set(Counter(steps[0] + steps[1]).values()) == {1}
    assert sorted(steps[0] + steps[1]) == sorted(SMALL.chosen(POOL, 0)) == sorted(steps[2] + steps[3])
    assert steps[0] + steps[1] != steps[2] + steps[3]
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "000004")
    cut_metrics(tmp_path / "run" / "metrics.jsonl", 3)
    (tmp_path / "run" / "groups" / "000003.json.gz").unlink()
    resume(tmp_path / "run", say=lambda _: None, method=one).train()
    assert [line["digest"] for line in read_metrics(tmp_path / "run")] == [line["digest"] for line in lines]


def test_it_is_the_only_difference_to_supervised_learning():
    assert COVERAGE.idea == ("curriculum",)
    assert (COVERAGE.but(curriculum=SFT.curriculum).feed, COVERAGE.update) == (SFT.feed, SFT.update)


def test_what_it_cannot_choose_from_is_refused_in_words():
    with pytest.raises(ValueError, match="chooses 600 of the tasks of 'twohop', and there are 500"):
        Connecting().init(TwoHop())
    with pytest.raises(ValueError, match="needs an end to them"):
        Connecting().init(Chain())
    with pytest.raises(ValueError, match="among at least each"):
        Connecting(among=3, each=4)


def test_the_shuffled_k_is_of_a_question_with_the_same_counts():
    rng = random.Random(0)
    k, times = [rng.randrange(4) for _ in range(200)], [(rng.randrange(3), rng.randrange(2)) for _ in range(200)]
    made = shuffled(k, times, 1)
    assert made != k
    for pair in {*times}:
        assert sorted(a for a, t in zip(k, times, strict=True) if t == pair) == sorted(
            a for a, t in zip(made, times, strict=True) if t == pair
        )
    assert [join(2, 3) for join in JOINED.values()] == [2, 3, 5, 6, 2]


def test_each_seed_of_the_claim_has_tables_of_its_own():
    made = [own_tables(Recipe(task="twohop:train=300", seed=seed), Path())["source"] for seed in (0, 5)]
    assert made == [TwoHop(train=300), TwoHop(train=300, tables=5)]
    assert not np.array_equal(*(np.array([one.task("train", 0, i).prompt for i in range(9)]) for one in made))


@pytest.mark.slow  # seconds: a run that learns its examples by heart
def test_the_readings_of_the_claim_are_of_one_run(tmp_path):
    by_heart = SFT.but("by-heart", idea=(), tasks=30)
    few = HeldOut(tasks=100, samples=1, at=(0.5, 1.0), max_tokens=4, temperature=0.0, replies=True)
    recipe = PREDICTS.recipe.but(task="twohop:tokens=6,train=30", model="seedling:layers=2,hidden=32,heads=2", lr=1e-2)
    arms = tuple(replace(arm, method=by_heart) for arm in PREDICTS.arms[:3])
    profiles = {"quick": Profile((0,), "15000 trained", 1)}
    record = runner.run(replace(PREDICTS, recipe=recipe, arms=arms, profiles=profiles, held_out=few), tmp_path, "quick")
    assert len([*(tmp_path / "runs").iterdir()]) == 1
    heart, undecided = record["checks"]
    assert 0.1 < heart["values"][0] <= 1
    source = own_tables(recipe, tmp_path)["source"]
    place = next((tmp_path / "runs").glob("coverage-*-0"))
    trace = read(place, "coverage", 0, recipe.but(budget="15000 trained"))
    right = [value == 1 for value in trace.values[-1]["values"]["pass@1"]]
    held = [source.task("test", 0, i) for i in range(len(right))]
    k = largest(
        *numbered([((t := source.task("train", 0, i)).prompt, t.needs["answer"]) for i in range(30)], [(t.prompt, "") for t in held])[:2]
    )
    assert record["values"]["coverage"][0] == pytest.approx(auroc(k, right))
    assert min(sum(right), len(right) - sum(right)) / len(right) == pytest.approx(undecided["values"][0])
    first = Counter(source.task("train", 0, i).prompt[:2] for i in range(30))
    assert record["values"]["counts"][0] >= auroc([first[t.prompt[:2]] for t in held], right) - 1e-9
    assert record["values"]["shuffled"][0] != record["values"]["coverage"][0]
