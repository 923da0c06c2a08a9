"""The mode level against a loop, how often it is on, which branch a near tie takes; the modes, the reward and the bargains."""

import asyncio
import math
import random
from fractions import Fraction
from functools import cache
from itertools import product
from statistics import fmean, stdev
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strop.directory import read_metrics
from strop.experiments.ampo import lost, on, tied
from strop.methods.ampo import AMPO, AMPO_BARGAIN, GOAL, mode_level, progress
from strop.methods.presets.ampo_mozerwang import AMPO_MOZERWANG, judged_or_zero
from strop.recipe import Recipe
from strop.records import Group, Incident, Rollout, Scores, Task
from strop.run import create
from strop.seams.credit import group_normalized
from strop.seams.index import Index
from strop.seams.judge import Ruling, judged
from strop.seams.mark import sections
from strop.seams.sampler import Independent
from strop.tasks import source
from strop.tasks.bargain import MODES, share, written

MARK = AMPO.marks[0]
PAPER, RELEASED = AMPO.credit[1], AMPO_MOZERWANG.credit[1]


def by_hand(group, condition, tie=1e-6):
    """The paper's two levels of a group of (reward, length, mode), summed."""
    rewards, found = [reward for reward, _, _ in group], {}
    for reward, length, mode in group:
        found.setdefault(mode, []).append((reward, length))
    malformed = found.pop(-1, [])
    if condition == "any two":
        active = len(found) >= 2
    else:
        active = not malformed and len(found) == 4 and all(len(members) >= 2 for members in found.values())
    credit = []
    for reward, _, mode in group:
        a_sample = (reward - fmean(rewards)) / (stdev(rewards) + 1e-6) if len(group) > 1 else 0.0
        a_mode = 0.0
        if active and mode != -1:
            r_bar = {k: fmean(r for r, _ in members) for k, members in found.items()}
            l_bar = {k: fmean(length for _, length in members) for k, members in found.items()}
            if max(r_bar.values()) - min(r_bar.values()) <= tie:
                a_mode = -math.tanh((l_bar[mode] - fmean(l_bar.values())) / (stdev(l_bar.values()) + 1e-6))
            else:
                a_mode = (r_bar[mode] - fmean(r_bar.values())) / (stdev(r_bar.values()) + 1e-6)
        credit.append(a_sample + a_mode)
    return credit


def credited(groups, link):
    """The same by the parts, over a batch of such groups."""
    index = Index.of([[[1]] * len(group) for group in groups])
    reward_R, length_R, mode_R = (torch.tensor(x, dtype=torch.float64) for x in zip(*(r for g in groups for r in g), strict=True))
    credit_R = group_normalized(reward_R, index, eps=1e-6)
    have = {"reward_R": reward_R, "length_R": length_R, "mode_R": mode_R, "credit_R": credit_R, "index": index}
    return link.on(have)


@pytest.mark.parametrize(("link", "condition"), [(PAPER, "any two"), (RELEASED, "all four twice")])
def test_the_credit_is_the_papers_over_random_groups(link, condition):
    rng = random.Random(0)
    for _ in range(40):
        levels, well = rng.choice(((0.5,), (0.0, 0.5, 1.0), (0.1, 0.7, -2.0))), rng.choice(((0, 1, 2, 3), (-1, 0, 1, 2, 3), (2,), (-1,)))
        groups = [[(rng.choice(levels), rng.randint(4, 70), rng.choice(well)) for _ in range(rng.choice((1, 2, 6, 16)))] for _ in range(6)]
        expected = torch.tensor([credit for group in groups for credit in by_hand(group, condition)], dtype=torch.float64)
        torch.testing.assert_close(credited(groups, link), expected, rtol=1e-9, atol=1e-9)


@cache
def cases_on(link, size=16):
    """How many of each mode there are in those groups in which the mode level says something."""
    cases = [counts for counts in product(range(size + 1), repeat=4) if sum(counts) == size]
    found = []
    for start in range(0, len(cases), 16):
        here = cases[start : start + 16]
        mode_R = torch.tensor([float(mode) for counts in here for mode in range(4) for _ in range(counts[mode])])
        index, none_R = Index.of([[[1]] * size] * len(here)), torch.zeros_like(mode_R)
        level_R = link.on({"reward_R": mode_R, "length_R": mode_R, "mode_R": mode_R, "credit_R": none_R, "index": index})
        found += [counts for counts, level in zip(here, level_R.split(size), strict=True) if level.any()]
    return found


def share_on(link, mix):
    """Of groups whose modes are drawn from a mix, the exact share of those."""

    def chance(counts):
        ways = math.factorial(sum(counts)) // math.prod(map(math.factorial, counts))
        return ways * math.prod((share**count for share, count in zip(mix, counts, strict=True)), start=Fraction(1))

    return sum(map(chance, cases_on(link)))


@pytest.mark.parametrize(
    ("mix", "released", "paper"),
    [("25 25 25 25", 75.3, 100), ("40 30 20 10", 38.5, 100), ("70 10 10 10", 8.7, 99.7), ("85 5 5 5", 0.4, 92.6)],
)
def test_the_exact_share_of_groups_in_which_it_is_on(mix, released, paper):
    shares = [Fraction(percent) / 100 for percent in map(int, mix.split())]
    assert 100 * share_on(RELEASED, shares) == pytest.approx(released, abs=0.05)
    assert share_on(PAPER, shares) == 1 - sum(one**16 for one in shares)
    assert 100 * share_on(PAPER, shares) == pytest.approx(paper, abs=0.05)


def test_one_malformed_reply_puts_the_released_one_out():
    group = [(float(mode), mode, mode) for mode in range(4) for _ in range(4)]
    assert credited([group], RELEASED).ne(credited([group], mode_level(modes=9))).all()
    malformed = [*group[:-1], (-2.0, 3, -1)]
    torch.testing.assert_close(credited([malformed], RELEASED), credited([malformed], mode_level(modes=9)))
    level_R = credited([malformed], PAPER) - credited([malformed], mode_level(modes=9))
    assert level_R[-1] == 0
    assert level_R[:-1].ne(0).all()


def test_means_that_agree_but_for_rounding_prefer_the_shorter_mode():
    group, index = [(0.1, 5, 0), (0.2, 5, 0), (0.3, 5, 0), (0.2, 60, 3), (0.2, 60, 3)], Index.one_group(5)
    reward_R, length_R, mode_R = (torch.tensor(x, dtype=torch.float64) for x in zip(*group, strict=True))

    def level(reward_R, tie):
        return mode_level(reward_R, length_R, mode_R, torch.zeros_like(reward_R), index, tie=tie)

    earned_R = index.alike(reward_R, mode_R)
    assert 0 < (earned_R[0] - earned_R[-1]).abs() < 1e-15
    assert level(reward_R, 1e-6).tolist() == pytest.approx([0.6089] * 3 + [-0.6089] * 2, abs=1e-4)
    assert level(reward_R, 0.0).abs().max() < 1e-9, "compared exactly the other branch is taken, and its 1e-6 leaves nothing"
    better = torch.tensor([1e-3, 0, 0, 0, 0])
    assert level(reward_R + better, 1e-6).tolist() == pytest.approx([0.7071 * 0.9958] * 3 + [-0.7071 * 0.9958] * 2, abs=1e-3)


def test_a_mode_counts_once_however_often_it_was_chosen():
    few, many = ([(1.0, 5, 0)] * n + [(0.0, 30, 1)] * 2 + [(0.5, 60, 2)] for n in (1, 9))
    level = [credited([group], PAPER) - credited([group], mode_level(modes=9)) for group in (few, many)]
    torch.testing.assert_close(level[0][0], level[1][0])
    torch.testing.assert_close(level[0][-3:], level[1][-3:])


@pytest.mark.parametrize("modes", [(2,), (-1,), (-1, 3)])
def test_a_group_in_one_mode_or_none_is_grpos(modes):
    group = [(0.1 * i, i, modes[i % len(modes)]) for i in range(16)]
    assert credited([group], PAPER).tolist() == credited([group], mode_level(modes=9)).tolist()


# The label.


def test_every_mode_is_a_sequence_of_heads_by_count_and_order():
    mark = sections(modes=(("A:", "r"), ("B:", "i", "s", "r")))
    for text, label in (
        ("A:r1", 0), ("B:i1 s2 r3", 1), ("B:s1 i2 r3", None), ("B:i1 i2 s3 r4", None), ("B:i1 r2", None), ("A:i1 r2", None),
        (" A:r1", None), ("A:r1 A:r1", None), ("r1", None), ("", None), ("C:r", None),
    ):  # fmt: skip
        assert mark.on({"text": text}) == label, text


@given(st.permutations(MODES[3]), st.text("0123456789+-=", max_size=6))
def test_only_the_order_of_the_mode_is_the_mode(heads, between):
    text = between.join(heads)
    assert MARK.on({"text": text}) == (3 if tuple(heads) == MODES[3] else None)


def test_modes_without_heads_are_refused():
    for modes in ((), ((),), (("a", ""),)):
        with pytest.raises(ValueError, match="name the heads of each mode"):
            sections(modes=modes).on({"text": "a"})


# The reward.


def test_the_reward_is_progress_times_the_window_of_the_answer():
    def earned(outcome, standing, answer=3, mode=0):
        return progress(*(torch.tensor([float(x)]) for x in (outcome, standing, answer, mode))).item()

    assert [earned(outcome, 0.6) for outcome in (1, 0.8, 0.6, 0.3, 0)] == pytest.approx([1, 0.75, 0.5, 0.25, 0])
    assert [earned(1, 0.5, answer) for answer in (0, 175, 212.5, 250, 287.5, 325, 2000)] == pytest.approx([1, 1, 0.75, 0.5, 0.25, 0, 0])
    assert earned(1, 0.5, mode=-1) == -2
    assert [earned(1, 1), earned(0, 0), earned(0, 1), earned(1, 0)] == [0.5, 0.5, 0, 1], "no progress where nothing is left to gain or lose"


def test_a_judges_failure_is_no_score_here_and_0_in_the_released_form(monkeypatch):
    group = Group(Task("a talk", {}, "talks"), (Rollout((), "a/0", text="x"), Rollout((), "a/1", text="y")), id="a")

    async def failing(judge, form, cases, **how):
        assert form == GOAL
        return [Ruling((0.7, None), ("", "the judge gave 0 of 1 verdicts"), ())]

    monkeypatch.setattr("strop.seams.judge.rule", failing)

    ctx = SimpleNamespace(policies={"judge": None}, rng=lambda *names: random.Random(0))
    ours = asyncio.run(judged(form=GOAL).on({"groups": [group], "ctx": ctx}))
    assert ours.values == {"a/0": {"judged": 0.7}, "a/1": {"judged": None}}
    assert ours.incidents == (Incident("a/1", "judged", "the judge gave 0 of 1 verdicts"),)
    theirs = asyncio.run(judged_or_zero().on({"groups": [group], "ctx": ctx}))
    assert theirs == Scores({"a/0": {"judged": 0.7}, "a/1": {"judged": 0.0}})


def test_the_judge_is_asked_for_a_number_from_0_to_10():
    (question,) = GOAL.questions("You sell a lamp.", ["Sixty, and it is yours."], random.Random(0), 1)
    assert "from 0 (not at all) to 10 (entirely)" in question.text
    assert GOAL.read("He is close. <verdict>8</verdict>") == (0.8,)


# The bargains.


def test_every_worked_text_gains_all_is_in_its_mode_and_costs_more_than_the_one_before():
    bargain, standing, drawn = source("bargain"), set(), []
    for number in range(300):
        task = bargain.task("train", 0, number)
        texts = [written(task, mode) for mode in range(4)]
        assert [MARK.on({"text": text}) for text in texts] == [0, 1, 2, 3]
        graded = [bargain.grade(task, text) for text in texts]
        assert {one["outcome"] for one in graded} == {1.0}
        assert {one["standing"] for one in graded} == {share(task, task.needs["offers"][1])}
        assert sorted(texts, key=len) == texts
        assert (graded[0]["standing"] == 1) == task.prompt.endswith("!") == (task.meta["rise"] == 0)
        standing.add(graded[0]["standing"])
        drawn.append(MARK.on({"text": bargain.example(task)}))
    assert {drawn.count(mode) > 50 for mode in range(4)} == {True}
    assert len(standing) > 5


def test_the_partner_is_exact_and_a_share_is_said_in_eleven_levels():
    task = Task("20: 41 48?", {"worth": 20, "offers": [41, 48], "limit": 69}, "bargain")
    bargain = source("bargain")
    earned = [bargain.grade(task, f"1<answer>{price}</answer>")["outcome"] for price in range(20, 80)]
    assert earned == [round(10 * (price - 20) / 49) / 10 if price <= 69 else 0 for price in range(20, 80)]
    assert len(set(earned)) == 11
    assert bargain.grade(task, "1<answer>19</answer>")["outcome"] == 0, "below what it is worth there is nothing to gain"
    assert bargain.grade(task, "1<answer>6x</answer>").reason == "not a whole number"
    with pytest.raises(ValueError, match="firm is a number from 0"):
        source("bargain:firm=2")


def test_the_program_teaches_all_modes_and_then_reinforces():
    imitate, reinforce = AMPO_BARGAIN.plan
    assert imitate.method.feed.text == "worked"
    assert reinforce.method.idea == ("marks", "reward", "credit", "signals.kl")
    assert AMPO_MOZERWANG.credit[0] == AMPO.credit[0]


def test_a_run_says_its_modes_and_what_the_checks_read(tmp_path):
    small = {"steps": 1, "tasks": 2, "group": 4, "max_tokens": 8, "eval_tasks": 0, "slots": 8}
    create(Recipe(method=AMPO.but(sampler=Independent(n=4)), task="bargain", **small), tmp_path / "run").train()
    (line,) = read_metrics(tmp_path / "run")
    assert sum(line["labels"]["mode"].values()) == pytest.approx(1)
    assert 0 <= line["standing"] <= 1


class Told:
    """A trace of these groups of (mode, reward)."""

    def __init__(self, *groups):
        self.groups = [Group(Task("x", {}, "s"), tuple(Rollout((), f"{g}/{i}") for i in range(len(one)))) for g, one in enumerate(groups)]
        self.said = {f"{g}/{i}": pair for g, one in enumerate(groups) for i, pair in enumerate(one)}
        count = sum(map(len, groups))
        shares = {str(mode): sum(m == mode for m, _ in self.said.values()) / count for mode in (-1, 0, 1, 2, 3)}
        self.lines = [{"labels": {"mode": shares}}]

    def records(self):
        yield {"rewards": {unit: reward for unit, (_, reward) in self.said.items()}}

    def steps(self):
        yield self.groups, Scores({unit: {"mode": float(mode)} for unit, (mode, _) in self.said.items()})


def test_what_the_checks_of_the_claims_count():
    trace = Told([(0, 0.5), (3, 0.5)], [(0, 0.5), (3, 1.0)], [(3, 1.0), (3, 0.0)], [(-1, -2.0), (3, 1.0)])
    assert on().on({"trace": trace}) == 0.5
    assert tied().on({"trace": trace}) == 0.25
    assert lost().on({"trace": trace}) == 2
