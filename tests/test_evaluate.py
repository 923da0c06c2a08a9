"""pass@k by hand and by enumeration, votes, intervals, and an evaluation through a scripted engine."""

import asyncio
import contextlib
from itertools import combinations

import pytest

from strop.evaluate import Evaluation, answer_of, evaluate, interval, judge, ladder, majority, pass_at_k, rise
from strop.records import Author, Group, Rollout, Sampling, Segment, Task
from strop.seams.context import Handle
from strop.seams.engine import Counters, Node
from strop.seams.source import Graded
from strop.tasks.countdown import Countdown
from strop.tripwires import Tripped


@pytest.mark.parametrize(("n", "c", "k", "want"), [(4, 1, 1, 0.25), (4, 1, 2, 0.5), (4, 1, 4, 1.0), (4, 0, 2, 0.0), (5, 2, 3, 0.9)])
def test_pass_at_k_by_hand(n, c, k, want):
    # 5 samples, 2 right, 3 drawn: 1 - C(3,3)/C(5,3) = 1 - 1/10
    assert pass_at_k(n, c, k) == pytest.approx(want)


def test_pass_at_k_is_the_share_of_subsets_that_hold_a_right_sample():
    for n in range(1, 7):
        for c in range(n + 1):
            for k in range(1, n + 1):
                subsets = list(combinations([i < c for i in range(n)], k))
                assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_pass_at_more_than_there_is_is_refused():
    with pytest.raises(ValueError, match="needs at least 8 samples"):
        pass_at_k(4, 1, 8)


def test_the_ladder_ends_at_the_number_of_samples():
    assert ladder(1) == [1]
    assert ladder(16) == [1, 2, 4, 8, 16]
    assert ladder(6) == [1, 2, 4, 6]


def test_an_interval_is_a_function_of_its_seed_and_holds_the_mean():
    values = [0.0] * 60 + [1.0] * 40
    assert interval(values, 1) == interval(values, 1)
    low, high = interval(values, 1)
    assert low < 0.4 < high
    # the normal approximation: 1.96 * sqrt(0.24 / 100) = 0.096
    assert high - low == pytest.approx(2 * 0.096, abs=0.03)
    assert interval([0.5, 0.5, 0.5]) == (0.5, 0.5)


def test_the_majority_is_the_most_common_answer_and_ties_share():
    assert majority([("4", 1.0), ("5", 0.0), ("4", 1.0)]) == 1.0
    assert majority([("4", 1.0), ("5", 0.0), ("5", 0.0)]) == 0.0
    assert majority([("4", 1.0), ("5", 0.0)]) == 0.5
    assert majority([(None, 0.0), (None, 0.0), ("4", 1.0)]) == 1.0
    assert majority([(None, 0.0)]) == 0.0
    assert majority([]) is None


def test_a_text_votes_for_its_parsed_answer():
    class Parses:
        def answer(self, text):
            return text[-1:] or None

    assert answer_of(Parses(), "the answer is 7") == "7"
    assert answer_of(Parses(), "") is None
    assert answer_of(object(), "<think>1+1=2</think><answer> 2 </answer>") == answer_of(object(), "<answer>2</answer>") == "2"
    assert answer_of(object(), "  It IS\n two ") == "it is two"


class Words:
    stop = ()

    def prompt(self, text, *more):
        return tuple(text.encode())

    def turn(self, text):
        return tuple(text.encode())

    def text(self, tokens):
        return bytes(tokens).decode()


class Scripted:
    """Answers a prompt's i-th request with the i-th of its digits."""

    name, version = "scripted", 0

    def __init__(self):
        self.counters, self.most, self.now = Counters(), 0, 0

    async def open(self, tokens, *, root, ordinal=0):
        return Node(Segment("prompt", tuple(tokens), "0"), None, (0,), root, 0, length=len(tokens))

    async def generate(self, node, *, max, stop=(), sampling=Sampling(), keep=True):
        ordinal = node.children[0]
        node.children[0] += 1
        self.now += 1
        self.most = self.now if self.now > self.most else self.most
        await asyncio.sleep(0)
        self.now -= 1
        written = (node.segment.tokens[ordinal % len(node.segment.tokens)],)
        segment = Segment("action", written, f"0.{ordinal}", Author("scripted", 0, sampling), (0.0,))
        return Node(segment, node, (0, ordinal), node.root, 0, stop="finished", length=node.length + 1)

    @contextlib.asynccontextmanager
    async def admit(self, footprint):
        yield


class Digits:
    """Task i asks for its digits; the right answer is 1."""

    name, size, pure = "digits", 3, True
    prompts = ("1000", "1100", "0000")

    def task(self, split, seed, index):
        assert split == "test"
        return Task(self.prompts[index], {}, self.name)

    def grade(self, task, text):
        return Graded({"outcome": float(text == "1"), "lenient": 1.0})

    def gold(self, task):
        return "1"


def scored(source, **changes):
    engine = Scripted()
    args = {"samples": 4, "sampling": Sampling(), "max_tokens": 8} | changes
    return asyncio.run(evaluate(Handle(engine, Words()), source, 200, **args)), engine


def test_an_evaluation_by_hand():
    made, engine = scored(Digits())
    assert made.tasks == 3
    assert made.values["pass@1"] == (0.25, 0.5, 0.0)
    assert made.values["pass@2"] == pytest.approx((0.5, 1 - 1 / 6, 0.0))
    assert made.values["pass@4"] == (1.0, 1.0, 0.0)
    assert made.values["majority"] == (0.0, 0.5, 0.0)
    assert made.mean("lenient") == 1.0
    assert made.mean("length") == 1.0
    assert engine.most == 12, "all tasks and samples are asked for at once"


def test_the_summary_has_pass_at_8_even_where_it_is_unknown():
    said = scored(Digits())[0].summary()
    assert said["pass@8"] is None
    assert said["pass@1"] == pytest.approx(0.25)
    low, high = said["interval"]["pass@1"]
    assert 0 <= low <= 0.25 <= high <= 0.5


def test_an_evaluation_travels_through_json():
    made = scored(Digits())[0]
    assert Evaluation.from_json(made.to_json()) == made


def test_what_cannot_be_graded_counts_for_nothing_and_too_much_of_it_stops():
    class Flaky(Digits):
        def grade(self, task, text):
            return Graded({"outcome": None}) if task.prompt == "0000" else super().grade(task, text)

    made = scored(Flaky(), grader_limit=0.5)[0]
    assert made.ungraded == 4
    assert made.values["pass@1"] == (0.25, 0.5, None)
    assert made.mean("pass@1") == pytest.approx(0.375)
    with pytest.raises(Tripped, match="4 of 12"):
        scored(Flaky())


def test_a_rise_is_paired_by_task():
    before, after = (Evaluation({"pass@1": values}, 4) for values in [(0.0, 0.5, None), (0.25, 0.75, 1.0)])
    assert rise(before, after) == (0.25, (0.25, 0.25))


def test_no_task_and_no_sample_are_refused():
    with pytest.raises(ValueError, match="at least one task"):
        asyncio.run(evaluate(Handle(Scripted(), Words()), Digits(), 0, samples=1, sampling=Sampling(), max_tokens=1))


def test_right_samples_that_differ_only_in_writing_are_one_distinct_answer():
    source = Countdown()
    task = Task("make 12: 2 3 6", {"numbers": [2, 3, 6], "target": 12}, source.name)
    texts = ("2*3+6", "6+3*2", "(6-2)*3", "2+3+6", "6*2")
    group = Group(task, tuple(Rollout((), f"r{i}", text=f"<answer>{text}</answer>") for i, text in enumerate(texts)))
    found = asyncio.run(judge(source, [group], samples=len(texts), sampling=Sampling()))
    assert found.values["mean"] == (0.6,)
    assert found.values["distinct"] == (2.0,)
    assert "distinct" not in asyncio.run(judge(Digits(), [group], samples=len(texts), sampling=Sampling())).values
