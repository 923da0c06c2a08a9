"""TreePO: the tree by hand, by enumeration and on the engine; what it saves against arithmetic; credit against a loop."""

import asyncio
import itertools
import json
import random
from dataclasses import dataclass, field, replace

import pytest
import torch

from strop import pico
from strop.engines.embedded import EmbeddedEngine
from strop.methods.grpo import GRPO
from strop.methods.treepo import TREEPO
from strop.policies.causal import load
from strop.recipe import Recipe
from strop.records import Segment, Task
from strop.run import create, resume
from strop.seams import sampler
from strop.seams.context import Ctx, Handle, Progress
from strop.seams.credit import group_centered, nested_centered
from strop.seams.engine import Node
from strop.seams.index import Index
from strop.seams.tree import SegmentTree, bound, budget, least, repeats, split, unique


class Script:
    """A policy whose n-th segment says what the script says: a text and whether it ends there. It counts what an engine would keep."""

    def __init__(self, says):
        self.says, self.calls, self.kept, self.prefixes = says, 0, 0, []
        self.renderer = self

    async def open(self, text, *, root):
        return Node(Segment("prompt", (1, 2, 3), "0"), None, (0,), root, 0, length=3)

    async def generate(self, node, *, max, sampling, keep):
        ordinal, node.children[0] = node.children[0], node.children[0] + 1
        path = (*node.path, ordinal)
        count, ended = self.says(self.calls, path, max)
        self.calls += 1
        self.kept += count * keep
        self.prefixes.append(node.path)
        segment = Segment("action", tuple(range(count)), ".".join(map(str, path)))
        return Node(segment, node, path, node.root, 0, "finished" if ended else "length", node.length + count)

    def text(self, what):
        tokens = what.segment.tokens if isinstance(what, Node) else what
        return "".join(chr(97 + t) for t in tokens)


def grown(tree, says, seed=0):
    """The one group, and the script as it was read."""
    script = Script(says)
    ctx = Ctx(seed, Progress(), None, {"actor": script}, grade=None, place="task#0")
    [group] = asyncio.run(tree(Task("2+2=?", {}, "script"), None, ctx))
    return group, script


def on(calls, path, most):
    return most, False


def by_chance(seed, share=0.35):
    """Some segments end the reply, after a random number of tokens."""
    noise = random.Random(seed)

    def says(calls, path, most):
        return (noise.randint(1, most), True) if noise.random() < share else (most, False)

    return says


def test_the_budget_and_the_split_are_those_of_the_paper():
    assert budget(going=2, ended=0, missing=16, branching=2) == 4, "everyone forks"
    assert budget(going=1, ended=1, missing=15, branching=2) == 4, "the ended one's share goes to the living"
    assert budget(going=8, ended=0, missing=9, branching=2) == 9, "no leaf too many"
    assert budget(going=8, ended=0, missing=8, branching=2) == 8
    assert split(9, 8) == [1] * 7 + [2], "the last path takes the remainder"
    assert split(14, 4) == [3, 3, 3, 5]


@pytest.mark.parametrize("depth", [4, 6, 14])
def test_paths_of_full_length_save_34_of_16_d_segments(depth):
    group, script = grown(SegmentTree(16, depth, 5), on)
    lengths = [r.length for r in group.rollouts]
    assert lengths == [5 * depth] * 16
    assert 1 - script.calls * 5 / sum(lengths) == pytest.approx(34 / (16 * depth))
    assert bound(lengths, 5, 2) == pytest.approx(34 / (16 * depth))
    assert {r.stop for r in group.rollouts} == {"length"}


@pytest.mark.parametrize("seed", range(60))
def test_a_tree_has_its_width_of_leaves_and_every_segment_is_on_the_path_of_one(seed):
    tree = SegmentTree(width=2 + seed % 9, depth=1 + seed % 5, segment=3, branching=1 + seed % 2, window=99)
    group, script = grown(tree, by_chance(seed), seed)
    assert len(group.rollouts) == tree.width
    assert len({r.id for r in group.rollouts}) == tree.width
    on_paths = {s.id: s for r in group.rollouts for s in r.rows[0].segments if s.kind == "action"}
    assert len(on_paths) == script.calls, "nothing was written in vain"
    assert unique(group) == sum(len(s.tokens) for s in on_paths.values())
    assert 3 + script.kept <= tree.footprint(3).positions
    for rollout in group.rollouts:
        written = [s.id for s in rollout.rows[0].segments[1:]]
        assert rollout.keys["nested"] == written
        assert len(written) <= tree.depth
        assert rollout.rows[0].trains == frozenset(written), "a row trains its whole path, shared or not"
        assert rollout.text == "".join(chr(97 + t) for s in rollout.rows[0].segments[1:] for t in s.tokens)


def test_a_footprint_is_reached():
    tree = SegmentTree(width=8, depth=4, segment=3, branching=8)
    assert 3 + grown(tree, on)[1].kept == tree.footprint(3).positions


@pytest.mark.parametrize(("width", "depth", "branching"), [(3, 3, 2), (4, 2, 2), (3, 2, 3), (3, 3, 1), (2, 4, 1)])
def test_no_tree_writes_less_than_the_bound_and_without_fallback_none_writes_more(width, depth, branching):
    """Every way in which the segments of a small tree can end."""
    reached = 0
    for ends in itertools.product((False, True), repeat=width * depth):
        tree = Watched(width, depth, 2, branching)
        group, _ = grown(tree, lambda n, path, most, ends=ends: (1 if ends[n] else most, ends[n]))
        lengths = [r.length for r in group.rollouts]
        assert unique(group) >= least(lengths, 2, branching), (ends, lengths)
        if not tree.missed:
            reached += 1
            assert unique(group) == least(lengths, 2, branching), (ends, lengths)
    assert reached or branching == 1, "the bound is reached"


@dataclass(frozen=True)
class Watched(SegmentTree):
    """Says how often leaves were missing when nobody went on."""

    missed: list = field(default_factory=list)

    def _again(self, root, leaves, rng):
        queue = super()._again(root, leaves, rng)
        self.missed.extend([1] if queue else [])
        return queue


def test_a_fallback_cuts_finished_leaves_at_a_boundary_and_keeps_their_beginnings():
    """Everything ends with its second segment: four leaves in two rounds, then two copies of one of them from a boundary."""

    def second(calls, path, most):
        return most, len(path) == 3

    tree, beginnings = SegmentTree(width=6, depth=3, segment=4), set()
    for seed in range(20):
        group, script = grown(tree, second, seed)
        assert len(group.rollouts) == 6
        assert group == grown(tree, second, seed)[0], "the cut is keyed noise"
        again = script.prefixes[6:8]
        assert again[0] == again[1]
        assert again[0] in [(0,), (0, 0), (0, 1)]
        beginnings.add(again[0])
    assert len(beginnings) == 3, "the prompt is a boundary too"


def test_what_only_repeated_itself_is_not_grown_again():
    """Two leaves that repeat themselves leave nothing to cut, so the others start from the prompt."""
    tree = SegmentTree(width=4, depth=3, segment=12, window=1, times=1)
    group, script = grown(tree, on)
    assert {r.stop for r in group.rollouts} == {"repetition"}
    assert script.prefixes == [(0,)] * 4


def test_repetition_is_looked_for_first_as_in_the_paper_or_last_as_in_the_release():
    def says(n, path, most):
        return most, True

    assert {r.stop for r in grown(SegmentTree(4, 2, 3, window=1, times=1), says)[0].rollouts} == {"repetition"}
    last = SegmentTree(4, 2, 3, window=1, times=1, repetition_first=False)
    assert {r.stop for r in grown(last, says)[0].rollouts} == {"finished"}
    assert repeats("ab" * 20 + "x", window=32, times=5)
    assert not repeats("ab" * 20 + "x", window=32, times=6)
    assert not repeats("ab", window=32, times=1)


def test_more_initial_divergence_draws_the_number_of_first_copies():
    counts = {grown(SegmentTree(16, 6, 2, first=(2, 8)), on, seed)[1].prefixes.count((0,)) for seed in range(99)}
    assert counts == set(range(2, 9))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: SegmentTree(width=0), "width=0"),
        (lambda: SegmentTree(branching=17), "do not fit a width of 16"),
        (lambda: SegmentTree(first=(8, 2)), "8 to 2 first copies"),
        (lambda: GRPO.but("x", credit=TREEPO.credit), "its sampler Independent forms none. Sample a tree"),
    ],
)
def test_what_cannot_be_grown_is_refused(made, words):
    with pytest.raises(ValueError, match=words):
        made()


def test_a_recipe_cuts_its_longest_reply_into_the_depth():
    one = Recipe(method=TREEPO, group=4, max_tokens=40).resolved()
    assert (one.sampler.width, one.sampler.depth, one.sampler.segment) == (4, 6, 7)


# On the engine.


@pytest.fixture(scope="module")
def policy():
    return load(str(pico.path()), device="cpu")


def sampled(policy, prompts, tree, slots=64):
    engine = EmbeddedEngine(policy.model, policy.tokenizer, seed=3, slots=slots, eos_ids=policy.eos)
    engine.begin(0)
    ctx = Ctx(3, Progress(), None, {"actor": Handle(engine, policy.renderer)}, grade=None)
    tasks = [Task(prompt, {}, "test") for prompt in prompts]

    async def all_of_them():
        made = await asyncio.gather(*(sampler.grown(tree, t, None, ctx.at(f"{t.id}#0")) for t in tasks))
        return {group.task.prompt: group for groups in made for group in groups}

    return asyncio.run(all_of_them()), engine.counters


PROMPTS = ("8+9-3=?", "31+3+41-35+40=?", "7*8-19+4=?", "5+5=?", "40-3-3-3=?")


def test_on_the_engine_decoded_is_the_sum_over_unique_segments_and_nothing_is_computed_again(policy):
    groups, counters = sampled(policy, PROMPTS, SegmentTree(width=8, depth=5, segment=6))
    assert counters.decoded == sum(map(unique, groups.values()))
    assert counters.decoded < sum(r.length for g in groups.values() for r in g.rollouts)
    assert counters.recomputed == 0
    assert counters.prefilled == sum(len(policy.renderer.prompt(p)) for p in PROMPTS)


def test_a_tree_is_the_same_alone_and_among_others_and_with_few_slots(policy):
    tree = SegmentTree(width=6, depth=5, segment=6, first=(2, 5))
    together, _ = sampled(policy, PROMPTS, tree)
    backwards, _ = sampled(policy, PROMPTS[::-1], tree, slots=5)
    for prompt in PROMPTS[:2]:
        alone, _ = sampled(policy, [prompt], tree)
        assert alone[prompt].to_json() == together[prompt].to_json() == backwards[prompt].to_json()


@pytest.mark.slow  # three runs
def test_a_run_that_stopped_goes_on_with_its_trees_as_if_it_had_not(tmp_path):
    tree = SegmentTree(width=4, depth=4, segment=6)
    one = TREEPO.but(sampler=tree, tasks=3, update=GRPO.update)
    recipe = Recipe(method=one, task="chain", steps=2, eval_tasks=0, checkpoint_every=1, lr=3e-4)
    whole = create(recipe, tmp_path / "whole")
    whole.train()
    torn = create(recipe, tmp_path / "torn")
    torn.train(show=lambda line: (tmp_path / "torn" / "checkpoints" / "000002").exists())
    for path in (tmp_path / "torn" / "checkpoints").iterdir():
        (path / "hash").write_text("damaged")
    again = resume(tmp_path / "torn", say=lambda said: None, method=one)
    again.train()

    def said(name):
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        return [{k: v for k, v in line.items() if k != "t"} for line in lines]

    assert said("torn") == said("whole")
    learned = [line for line in said("whole") if line["updates"]]
    assert learned
    for line in learned:
        assert line["mismatch"] < 1e-4
        assert line["watch"]["undrawn"] == line["watch"]["misplaced"] == 0
        assert line["watch"]["drawn"] > 0
    assert whole.digest_weights() == again.digest_weights()


# Credit.


def test_credit_of_a_tree_by_hand():
    """Six leaves; a and b share two segments, c one with them, d and e one of their own, f is alone.

    rewards a 1, b 0, c 0, d 1, e 1, f 0; group mean 1/2
    a: 1 - (1/2 + 1/3 + 1/2) / 3 = 5/9      b: -4/9       c: 0 - (1/2 + 1/3) / 2 = -5/12
    d: 1 - (1/2 + 1) / 2 = 1/4              e: 1/4        f: -1/2
    """
    keys = torch.tensor([[0, 1, 5], [0, 1, 6], [0, 2, -1], [3, 7, -1], [3, 8, -1], [4, -1, -1]])
    got_R = nested_centered(torch.tensor([1.0, 0, 0, 1, 1, 0]), keys, Index.one_group(6))
    torch.testing.assert_close(got_R, torch.tensor([5 / 9, -4 / 9, -5 / 12, 1 / 4, 1 / 4, -1 / 2]))


def test_a_depth_without_a_fork_counts_again():
    """The same two leaves at one depth, at two: their mean weighs 1 of 2, 2 of 3."""
    reward_R = torch.tensor([1.0, 0.0, 0.0, 0.0])
    once = nested_centered(reward_R, torch.tensor([[0], [0], [1], [2]]), Index.one_group(4))
    twice = nested_centered(reward_R, torch.tensor([[0, 3], [0, 3], [1, 4], [2, 5]]), Index.one_group(4))
    assert once[0].item() == pytest.approx(1 - (1 / 4 + 1 / 2) / 2)
    assert twice[0].item() == pytest.approx(1 - (1 / 4 + 1 / 2 + 1 / 2) / 3)


def test_without_a_fork_the_credit_is_the_plain_group_mean():
    reward_R, index = torch.rand(12, dtype=torch.float64), Index.of([[[1]] * 5, [[2]] * 7])
    for keys in (torch.empty(12, 0, dtype=torch.long), torch.arange(12)[:, None], torch.full((12, 3), -1)):
        torch.testing.assert_close(nested_centered(reward_R, keys, index), group_centered(reward_R, index), atol=1e-15, rtol=0)
    assert nested_centered(torch.tensor([1.0]), torch.tensor([[0]]), Index.one_group(1)).item() == 0


@pytest.mark.parametrize("seed", range(20))
def test_credit_over_random_trees_is_the_loop_over_leaves(seed):
    from strop.batch import pack

    noise, groups, rewards = random.Random(seed), [], {}
    for number in range(3):
        tree = SegmentTree(width=noise.randint(2, 9), depth=noise.randint(1, 6), segment=2)
        group, _ = grown(tree, by_chance(10 * seed + number), seed)
        group = replace(group, id=str(number), rollouts=tuple(replace(r, id=f"{number}/{r.id}") for r in group.rollouts))
        groups.append(group)
        rewards |= {r.id: noise.choice((0.0, 1.0, 0.25)) for r in group.rollouts}
    batch = pack(groups, {}, rewards, 0)
    got = nested_centered(batch.facts["reward_R"].double(), batch.facts["nested_RD"], batch.index).tolist()
    wanted = []
    for group in groups:
        paths = {r.id: [s.id for s in r.rows[0].segments] for r in group.rollouts}
        for leaf in group.rollouts:
            gains = []
            for depth in range(len(paths[leaf.id])):
                here = [o.id for o in group.rollouts if paths[o.id][: depth + 1] == paths[leaf.id][: depth + 1]]
                if depth == 0 or len(here) > 1:
                    gains.append(rewards[leaf.id] - sum(rewards[o] for o in here) / len(here))
            wanted.append(sum(gains) / len(gains))
    assert got == pytest.approx(wanted, abs=1e-12)
