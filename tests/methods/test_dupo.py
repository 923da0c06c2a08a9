"""What copying groups equals, by enumeration of every way to draw the copies."""

import itertools
import shutil
from collections import Counter

import pytest
import torch

from strop.batch import pack
from strop.check.worlds import Bigram
from strop.directory import cut_metrics, read_metrics
from strop.learning import backward, settle
from strop.methods.dupo import DUPO
from strop.methods.grpo import GRPO
from strop.recipe import Recipe
from strop.records import Author, Fate, Group, Rollout, Row, Segment, Task
from strop.run import create, resume
from strop.seams.credit import group_centered
from strop.seams.objective import policy_gradient
from strop.seams.reduction import means, over, sum_over
from strop.seams.signal import Signal
from strop.seams.update import AdamW

REWARDS = [(1.0, 0.0, 0.0), (0.0, 0.0, 0.0), (1.0, 1.0, 0.0), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)]
KEPT = [h for h, rewards in enumerate(REWARDS) if len(set(rewards)) > 1]


def groups(length) -> tuple[list[Group], dict[str, float]]:
    draw, made, rewards = torch.Generator().manual_seed(0), [], {}
    for h, given in enumerate(REWARDS):
        members = []
        for r, reward in enumerate(given):
            tokens = tuple(torch.randint(0, 6, (length(h, r),), generator=draw).tolist())
            action = Segment("action", tokens, f"{r}", Author("actor", 0), (-1.0,) * len(tokens))
            members.append(Rollout((Row.of(Segment("prompt", (h,), "p"), action),), f"{h}/{r}"))
            rewards[f"{h}/{r}"] = reward
        made.append(Group(Task(str(h), {}, "s"), tuple(members)))
    return made, rewards


def gradient(reduce, length, times: dict[int, int]) -> torch.Tensor:
    """Of one update on these groups, each so often; 0 drops it."""
    made, rewards = groups(length)
    one = GRPO.but("mine", credit=(group_centered(),), signals={"policy": Signal(policy_gradient(), reduce)}, update=AdamW())
    fates = {r.id: Fate(times=times[h]) if times[h] else Fate("drop") for h, g in enumerate(made) for r in g.rollouts}
    batch, policy = pack(made, fates, rewards, 0), Bigram(1)
    batch = settle(one, batch.with_(old_logp_T=batch.tracks["sampled_logp_T"]))
    backward(one, batch, policy, 10**6, 0.0, (0,))
    return policy.gradient()


def copied(reduce, length) -> torch.Tensor:
    """The mean over every way to draw the copies."""
    ways = list(itertools.product(KEPT, repeat=len(REWARDS) - len(KEPT)))
    drawn = [Counter(way) for way in ways]
    return torch.stack([gradient(reduce, length, {h: (h in KEPT) + way[h] for h in range(len(REWARDS))}) for way in drawn]).mean(0)


DROPPED = {h: int(h in KEPT) for h in range(len(REWARDS))}
EVERYONE = dict.fromkeys(range(len(REWARDS)), 1)


def equal(h: int, r: int) -> int:
    return 4


def unequal(h: int, r: int) -> int:
    return 2 + (3 * h + 2 * r) % 5


@pytest.mark.parametrize("reduce", [means("token"), means("group", "rollout", "token")], ids=["tokens", "sequences"])
def test_under_a_mean_copies_are_dropping_in_expectation(reduce):
    torch.testing.assert_close(copied(reduce, equal), gradient(reduce, equal, DROPPED), rtol=1e-10, atol=1e-12)


def test_under_a_mean_over_sequences_it_holds_at_any_lengths():
    reduce = means("group", "rollout", "token")
    torch.testing.assert_close(copied(reduce, unequal), gradient(reduce, unequal, DROPPED), rtol=1e-10, atol=1e-12)


def test_a_mean_over_tokens_of_unequal_groups_is_a_ratio_and_slightly_off():
    mine, theirs = copied(means("token"), unequal), gradient(means("token"), unequal, DROPPED)
    assert 1e-4 < (mine - theirs).norm() / theirs.norm() < 0.2


@pytest.mark.parametrize("length", [equal, unequal])
def test_against_a_fixed_count_copies_are_keeping_with_more_weight(length):
    fixed = means(over("group", len(REWARDS)), sum_over("rollout"), sum_over("token"))
    kept = gradient(fixed, length, EVERYONE) * len(REWARDS) / len(KEPT)
    torch.testing.assert_close(copied(fixed, length), kept, rtol=1e-10, atol=1e-12)


def test_a_batch_keeps_its_updates():
    assert DUPO.update.updates(DUPO.tasks) == 4
    assert [type(gate).__name__ for gate in DUPO.gate] == ["DropFlat", "Duplicate"]


@pytest.mark.slow  # a run of two steps, and one of them again
def test_a_run_copies_is_watched_as_any_other_and_is_computed_again_alike(tmp_path):
    recipe = Recipe(
        method="dupo", task="chain:steps=2", steps=2, tasks=6, group=8, max_tokens=48, eval_tasks=0, slots=32, checkpoint_every=1
    )
    run = create(recipe, tmp_path / "run")
    run.train()
    lines = read_metrics(tmp_path / "run")
    flat = [line["dropped"].get("flat", 0) // 8 for line in lines]
    assert [line["copies"] for line in lines] == [count if count < 6 else 0 for count in flat]
    assert sum(line["copies"] for line in lines) > 0
    assert all(line["watch"]["drawn"] and not line["watch"]["undrawn"] and not line["watch"]["misplaced"] for line in lines)
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "000002")
    cut_metrics(tmp_path / "run" / "metrics.jsonl", 1)
    again = resume(tmp_path / "run")
    again.train()
    assert again.digest_weights() == run.digest_weights()
