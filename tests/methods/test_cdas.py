"""CDAS against the paper's sums, with fixed pass rates, and against what was derived from them."""

import math
import random

import pytest

from strop.methods.cdas import CDAS, CompetenceAligned, around
from strop.records import Group, Rollout, Scores, Task
from strop.seams.context import Ctx, Progress
from strop.seams.curriculum import NearRate

G = 8


class Pool:
    name = "pool"

    def __init__(self, size: int | None):
        self.size = size

    def task(self, split, seed, index):
        return Task(str(index), {}, self.name)


def live(curriculum, rates, batch, steps, seed=0):
    """Steps on tasks with fixed pass rates; gives the picks of each step, what was seen, and the last state."""
    source, noise = Pool(len(rates)), random.Random(seed)
    state, seen = curriculum.init(source), []
    for step in range(steps):
        ctx = Ctx(seed, Progress(step, steps), source, {}, grade=None)
        tasks, state = curriculum.pick(batch, state, ctx)
        groups, values = [], {}
        for task in tasks:
            rollouts = tuple(Rollout((), f"{step}/{task.prompt}/{i}") for i in range(G))
            values |= {r.id: {"outcome": float(noise.random() < rates[int(task.prompt)])} for r in rollouts}
            groups.append(Group(task, rollouts))
        scores = Scores(values)
        seen.append([(int(g.task.prompt), scores.rate(g)) for g in groups])
        state = curriculum.observe(state, groups, scores, ctx)
    return seen, state


def oracle(history, size, prior):
    """Difficulty as a mean of all its values with `prior` zeros among them; competence moved by each change over the pool's size."""
    values, competence = [[0.0] * prior for _ in range(size)], 0.0
    difficulty = [0.0] * size
    for step in history:
        moved = 0.0
        for at, rate in step:
            values[at].append(1 / (1 + math.exp(-(competence - difficulty[at]))) - rate)
            new = sum(values[at]) / len(values[at])
            moved += new - difficulty[at]
            difficulty[at] = new
        competence -= moved / size
    return competence, difficulty


@pytest.mark.parametrize("prior", [0, 1])
def test_difficulty_and_competence_are_those_of_the_paper(prior):
    rates = [random.Random(3).random() for _ in range(40)]
    history, state = live(CompetenceAligned(prior), rates, batch=8, steps=30)
    competence, difficulty = oracle(history, 40, prior)
    assert state["difficulty"] == pytest.approx(difficulty, abs=1e-12)
    assert state["competence"] == pytest.approx(competence, abs=1e-12)
    assert max(state["visits"]) >= 3


def test_a_mutant_of_each_sum_is_told_from_it():
    rates = [random.Random(3).random() for _ in range(40)]
    history, state = live(CompetenceAligned(1), rates, batch=8, steps=30)
    assert state["difficulty"] != pytest.approx(oracle(history, 40, 0)[1], abs=1e-3), "the initial zero is counted"
    last = {at for at, _ in history[-1]}
    visited_only = -sum(state["difficulty"][at] for at in last) / len(last)
    assert state["competence"] != pytest.approx(visited_only, abs=1e-3), "all tasks of the pool count, visited or not"


@pytest.mark.parametrize(("rate", "rest"), [(0.0, 0.40), (1.0, -0.40)])
def test_a_task_never_or_always_solved_settles_where_expected_equals_its_difficulty_plus_its_rate(rate, rest):
    """D = expected(0, D) - rate has one root; the pool is large enough that competence stays near 0."""
    curriculum, source = CompetenceAligned(), Pool(2000)
    state = {**curriculum.init(source), "place": {Task("0", {}, "pool").id: 0}}
    group = Group(Task("0", {}, "pool"), (Rollout((), "r"),))
    ctx = Ctx(0, Progress(), source, {}, grade=None)
    for _ in range(40):
        state = curriculum.observe(state, [group], Scores({"r": {"outcome": rate}}), ctx)
    assert state["difficulty"][0] == pytest.approx(rest, abs=0.03)


def test_the_pool_is_swept_once_before_anything_is_chosen():
    history, state = live(CompetenceAligned(), [0.5] * 32, batch=8, steps=4)
    assert sorted(at for step in history for at, _ in step) == list(range(32))
    assert state["visits"] == [1] * 32


def test_half_comes_from_below_and_half_from_above_and_a_short_side_is_filled():
    difficulty = [-0.4, -0.2, 0.0, 0.1, 0.5]
    assert around([0, 1, 2, 3, 4], 4, difficulty, 0.05) == [2, 1, 3, 4]
    assert around([0, 1, 2, 3, 4], 4, difficulty, 0.45) == [3, 2, 1, 4]
    assert around([0, 1, 2, 3, 4], 3, difficulty, -1.0) == [0, 1, 2]
    assert around([0, 1, 2], 3, difficulty, 1.0) == [2, 1, 0]


def test_after_the_sweep_fewer_groups_agree_than_under_uniform_picks():
    """On fixed pass rates, two fifths of them hopeless or trivial: the simulation behind the claim."""
    rates = [0.0] * 64 + [1.0] * 64 + [random.Random(i).uniform(0.2, 0.8) for i in range(192)]

    def flat(history):
        late = [rate for step in history[20:] for _, rate in step]
        return sum(rate in (0.0, 1.0) for rate in late) / len(late)

    aligned, _ = live(CompetenceAligned(), rates, batch=16, steps=60)
    uniform = sum(r in (0.0, 1.0) for r in rates) / len(rates)
    assert flat(aligned) < uniform / 2


def test_a_stream_without_end_is_refused_with_the_way_to_draw_a_pool():
    for curriculum in (CompetenceAligned(), NearRate()):
        with pytest.raises(ValueError, match="Draw a pool: --task pool:320:pool"):
            curriculum.init(Pool(None))


def test_near_rate_goes_for_the_tasks_solved_about_half_of_the_time():
    rates = [0.0, 1.0, 0.5, 0.45, 0.55, 0.95, 0.05, 0.5]
    history, _ = live(NearRate(), rates, batch=2, steps=60)
    late = [at for step in history[20:] for at, _ in step]
    assert set(late) <= {2, 3, 4, 7}


def test_against_grpo_only_the_curriculum_changes():
    from strop.methods.grpo import GRPO

    mine, theirs = CDAS.describe(), GRPO.describe()
    assert {seam for seam in mine if mine[seam] != theirs[seam]} == {"curriculum"} == set(CDAS.idea)
