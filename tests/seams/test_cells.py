"""Parts of many papers, each against a loop: votes, lengths, baselines, covariance, lambda, texts in company, a temperature that moves."""

import asyncio
import math
import random
import shutil
from types import SimpleNamespace

import pytest
import torch

from strop import run
from strop.directory import read_commit, read_metrics
from strop.methods.grpo import GRPO
from strop.methods.ppo import PPO
from strop.recipe import Recipe
from strop.records import Group, Rollout, Scores, Task
from strop.seams.company import Cooled, WithGold, WithGreedy
from strop.seams.context import Ctx, Progress
from strop.seams.credit import gae, gae_by_length, group_centered, over_greedy, without_covariant
from strop.seams.gate import SetAside
from strop.seams.grader import agreed, greedy
from strop.seams.index import Index
from strop.seams.objective import cross_entropy, shaped
from strop.seams.recorded import Rehearsed
from strop.seams.reduction import means
from strop.seams.reward import outcome, soft_overlong
from strop.seams.sampler import Independent
from strop.seams.signal import Signal, teacher
from strop.seams.update import AdamW

SMALL = {"task": "chain", "tasks": 3, "eval_tasks": 0, "checkpoint_every": 2}


def test_most_of_a_group_are_right():
    said = [["a", "b", "b", None], ["c", "d", "c", "d"], [None, None, None, None], ["e", None, None, None]]
    groups = [
        Group(Task(str(g), {}, "s"), tuple(Rollout((), f"{g}/{r}", text=t or "") for r, t in enumerate(row)), id=str(g))
        for g, row in enumerate(said)
    ]
    source = SimpleNamespace(answer=lambda text: text or None)
    found = asyncio.run(agreed.on({"groups": groups, "ctx": Ctx(0, Progress(), source, {}, None)}))  # pyright: ignore
    for g, row in enumerate(said):
        counts = {answer: row.count(answer) for answer in row if answer is not None}
        best = next((answer for answer in row if answer is not None and counts[answer] == max(counts.values())), None)
        assert [found.get(f"{g}/{r}", "agreed") for r in range(4)] == [float(answer is not None and answer == best) for answer in row]


def test_the_penalty_grows_over_the_last_tokens():
    lengths = torch.tensor([10.0, 96, 100, 112, 128, 300], dtype=torch.float64)
    found = soft_overlong(torch.ones(6, dtype=torch.float64), lengths, most=128, room=32, weight=0.5)
    by_hand = [1 - 0.5 * (0 if n <= 96 else 1 if n > 128 else (n - 96) / 32) for n in lengths.tolist()]
    assert found.tolist() == by_hand
    with pytest.raises(ValueError, match="0 < room <= most"):
        soft_overlong(torch.ones(1), torch.ones(1), most=8, room=9)


def ragged(seed: int) -> tuple[Index, list[list[list[int]]]]:
    state = random.Random(seed)
    shape = [[[state.randint(1, 7) for _ in range(state.randint(1, 2))] for _ in range(state.randint(2, 4))] for _ in range(3)]
    return Index.of(shape), shape


def test_the_baseline_is_the_greedy_replys_reward():
    for seed in range(10):
        index, shape = ragged(seed)
        noise, at, by_hand = torch.Generator().manual_seed(seed), 0, []
        count = sum(map(len, shape))
        reward, mark = torch.rand(count, generator=noise, dtype=torch.float64), torch.zeros(count, dtype=torch.float64)
        for g, group in enumerate(shape):
            if g != 1:
                mark[at + len(group) - 1] = 1
            base = reward[at + len(group) - 1].item() if g != 1 else 0.0
            by_hand += [reward[at + r].item() - base for r in range(len(group))]
            at += len(group)
        assert over_greedy(reward, mark, index).tolist() == pytest.approx(by_hand)


def test_lambda_is_that_of_a_rollouts_length():
    for seed in range(10):
        index, shape = ragged(seed)
        count, noise = int(index.size("token")), torch.Generator().manual_seed(seed)
        reward, value = (torch.randn(count, generator=noise, dtype=torch.float64) for _ in range(2))
        cut = torch.rand(sum(map(len, shape)), generator=noise) < 0.3
        found = gae_by_length(reward, value, cut, index, alpha=0.3)
        at, rollout = 0, 0
        for length in (sum(rows) for group in shape for rows in group):
            lam, carried, whole = max(0.0, 1 - 1 / (0.3 * length)), 0.0, 0.0
            for t in reversed(range(at, at + length)):
                after = value[t + 1].item() if t < at + length - 1 else value[t].item() if cut[rollout] else 0.0
                delta = reward[t].item() + after - value[t].item()
                carried, whole = delta + lam * carried, delta + whole
                assert found["credit_T"][t].item() == pytest.approx(carried)
                assert found["return_T"][t].item() == pytest.approx(whole + value[t].item())
            at, rollout = at + length, rollout + 1
        plain = gae(reward, value, cut, index, gamma=1.0, lam=1.0)
        torch.testing.assert_close(found["return_T"], plain["return_T"])


def test_what_rises_together_is_left_out():
    credit, logp = (torch.tensor(x, dtype=torch.float64) for x in ([2.0, -1, -1, 0, 0], [-0.1, -0.1, -3, -0.5, -4]))
    found = without_covariant(credit, logp, Index.one_group(5), most=1.0)
    over = [(p - logp.mean()) * (a - credit.mean()) for p, a in zip(logp, credit, strict=True)]
    assert found.tolist() == [0.0 if c > 1 else a for c, a in zip(over, credit.tolist(), strict=True)]
    assert found.tolist() != credit.tolist()


def test_an_unlikely_text_of_others_moves_more_than_its_probability():
    logp = torch.tensor([-5.0, -0.1], dtype=torch.float64, requires_grad=True)
    shaped(logp, torch.ones(2, dtype=torch.float64), gamma=0.1).sum().backward()
    p = [math.exp(-5), math.exp(-0.1)]
    assert logp.grad.tolist() == pytest.approx([-x * 0.1 / (x + 0.1) ** 2 for x in p])


def lines(directory):
    return [line["digest"] for line in read_metrics(directory)]


def train(tmp_path, method, **more):
    recipe = Recipe(method=method, steps=4, **SMALL, **more)
    made = run.create(recipe, tmp_path / "run")
    made.train()
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "000004")
    (tmp_path / "run" / "groups" / "000003.json.gz").unlink()
    kept = lines(tmp_path / "run")
    text = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "run" / "metrics.jsonl").write_text("".join(text[:3]))
    run.resume(tmp_path / "run", say=lambda _: None, method=method).train()
    assert lines(tmp_path / "run") == kept, "killed before its last step, it goes on alike"
    records = [read_commit(tmp_path / "run", step) for step in range(4)]
    return made, records


def grouped(record):
    return [Group.from_json(group) for group in record["groups"]]


def test_a_right_text_stands_in_each_group_and_is_learned_from(tmp_path):
    off = {"gold": Signal(shaped(gamma=0.1), on=teacher, reduce=means("group", "rollout", "token"))}
    method = GRPO.but(
        "luffy",
        sampler=WithGold(Independent(n=3, max_tokens=12)),
        credit=(group_centered(),),
        signals={**GRPO.signals, **off},
        update=AdamW(),
    )
    _, records = train(tmp_path, method)
    for record in records:
        for group in grouped(record):
            *drawn, gold = group.rollouts
            assert (len(drawn), gold.provenance, gold.rows[0].segments[1].kind) == (3, "gold", "teacher")
            assert Scores.from_json(record["scores"]).get(gold, "outcome") == 1
    assert all(line["loss"]["gold"] != 0 for line in read_metrics(tmp_path / "run") if line["reward"] < 1)


def test_a_greedy_reply_is_a_baseline_and_not_trained(tmp_path):
    method = GRPO.but(
        "remax",
        sampler=WithGreedy(Independent(n=2, max_tokens=12)),
        graders=(greedy(),),
        gate=(SetAside(),),
        credit=(over_greedy(),),
        update=AdamW(),
        reward=outcome,
    )
    _, records = train(tmp_path, method)
    for record in records:
        scores = Scores.from_json(record["scores"])
        for group in grouped(record):
            best = group.rollouts[-1]
            assert [scores.get(r, "greedy") for r in group.rollouts] == [0.0, 0.0, 1.0]
            assert record["fates"][best.id][0] == "context"
            assert best.rows[0].segments[-1].author.sampling.temperature == 0
    assert all(not line.get("tripped") for line in read_metrics(tmp_path / "run"))


def test_earlier_replies_come_again(tmp_path):
    again = {"again": Signal(cross_entropy(), on=teacher, reduce=means("group", "rollout", "token"), weight=0.1)}
    method = GRPO.but("replay", feed=Rehearsed(groups=2), signals={**GRPO.signals, **again}, sampler=Independent(n=8, max_tokens=12))
    _, records = train(tmp_path, method)
    taken = [[g for g in grouped(record) if g.role == "demo"] for record in records]
    assert taken[0] == []
    assert any(taken)
    for step, groups in enumerate(taken):
        assert len(groups) <= 2
        for group in groups:
            (r,) = group.rollouts
            number, _, unit = r.provenance.partition("/")
            assert int(number) < step
            (first,) = [x for g in grouped(records[int(number)]) for x in g.rollouts if x.id == unit]
            assert (first.rows[0].tokens, r.rows[0].segments[1].kind) == (r.rows[0].tokens, "teacher")
            assert Scores.from_json(records[int(number)]["scores"]).get(first, "outcome") == 1


def test_the_temperature_moves_with_the_run(tmp_path):
    method = GRPO.but("cooled", sampler=Cooled(Independent(n=2, max_tokens=6), first=1.4, last=0.6))
    _, records = train(tmp_path, method)
    drawn = [{r.rows[0].segments[-1].author.sampling.temperature for g in grouped(record) for r in g.rollouts} for record in records]
    assert drawn == [{1.4}, {1.2}, {1.0}, {0.8}]
    with pytest.raises(ValueError, match="temperatures above 0"):
        Cooled(last=0.0)


def test_lambda_by_length_trains_a_head(tmp_path):
    method = PPO.but("vapo", credit=tuple(gae_by_length() if part.name == "gae" else part for part in PPO.credit))
    run.create(Recipe(method=method.but(sampler=Independent(n=2, max_tokens=6)), steps=2, **SMALL), tmp_path / "run").train()
    assert all(math.isfinite(sum(line["loss"].values())) for line in read_metrics(tmp_path / "run"))
