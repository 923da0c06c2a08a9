"""DPO, RFT and MPO against TRL's DPOTrainer, and what its `bco_pair` lacks, BCO's shift, against a loop.

TRL computes through all of its own code, from token ids to a loss: its collator, its `_compute_loss`, its mixture of losses. Moving policy
and reference are the same two bigrams on both sides, in float64; the slow test trains one real model with both, in float32, which TRL's
fused head always computes in.
"""

from __future__ import annotations

import dataclasses
import json
import math
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import gettempdir
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from presets import OTHER, SAME, distance, in_float64
from torch import Tensor
from torch.nn.functional import logsigmoid
from worlds import Bigram, World

from strop import pico
from strop.check.worlds import VOCABULARY
from strop.learning import backward, follow, settle
from strop.methods import method
from strop.recipe import Recipe
from strop.records import Fate, Group, Rollout, Row, Scores, Segment, Task
from strop.run import create
from strop.seams.index import Index
from strop.seams.objective import cross_entropy
from strop.seams.part import part
from strop.seams.preference import bco, dpo
from strop.seams.recorded import PAIR
from strop.seams.reduction import means, sum_over
from strop.seams.signal import Signal, chosen
from strop.seams.update import AdamW

pytestmark = pytest.mark.filterwarnings("ignore")  # the library's own

DPO, RFT, MPO = method("dpo"), method("rft"), method("mpo")
MIXED = {"loss_type": ("sigmoid", "bco_pair", "sft"), "loss_weights": (0.8, 0.2, 1.0)}
WORLDS = range(8)


@part(gives="value_R")
def nothing(index: Index) -> Tensor:
    """A shift that stays 0."""
    return torch.zeros(index.size("rollout"))


def but(one: Any, name: str, **changes: Any) -> Any:
    return one.but(signals={name: one.signals[name].but(**changes)})


BCO = DPO.but("bco", signals={"prefer": MPO.signals["quality"].but(weight=1.0)})
UNSHIFTED = but(MPO, "quality", running=nothing)
"""MPO with BCO as TRL 1.16 has it."""
BY_TOKEN = but(UNSHIFTED, "write", reduce=means("token"))
"""And with TRL's `sft`: every chosen token of the batch counts the same."""


def pairs(number: int, length: int | None = None, count: int | None = None) -> World:
    """Two to five pairs of ragged texts, the chosen ones all of a length where one is given."""
    rng = random.Random(f"pairs {number}")

    def said(kind: Any, place: str, size: int | None = None) -> Segment:
        return Segment(kind, tuple(rng.randrange(VOCABULARY) for _ in range(size or rng.randint(1, 6))), place)

    groups: list[Group] = []
    for g in range(count or rng.randint(2, 5)):
        prompt, texts = said("prompt", "0"), (said("teacher", "0.0", length), said("teacher", "0.1"))
        rollouts = tuple(Rollout((Row.of(prompt, text),), f"{g}/{i}") for i, text in enumerate(texts))
        groups.append(Group(Task(f"{g}", {}, "pairs"), rollouts, role=PAIR, id=f"{g}"))
    units = [r.id for group in groups for r in group.rollouts]
    sides = Scores({unit: {"chosen": float(unit.endswith("/0"))} for unit in units})
    far = 0.3 if number % 2 else 3.0  # every other time so far apart that the sigmoids are flat
    return World(groups, {unit: Fate() for unit in units}, dict.fromkeys(units, 0.0), number, far, sides)


def ours(one: Any, world: World) -> tuple[float, Any]:
    """Loss and slope of the bigram's table."""
    with in_float64():
        policy = world.policy
        facts = backward(one, settle(one, world.batch()), policy, 10**6, 0.0, (0,))
        return sum(s.weight_at(0.0) * facts[f"loss/{name}"] for name, s in one.signals.items()), policy.gradient().numpy()


@cache
def trainer(loss_type: tuple[str, ...], loss_weights: tuple[float, ...] | None = None, **settings: Any) -> Any:
    """A real one. Its model is never asked: `theirs` hands the loss another."""
    import trl
    from datasets import Dataset

    place = {"output_dir": str(Path(gettempdir()) / "strop-trl"), "report_to": "none", "use_cpu": True, "bf16": False}
    weights = None if loss_weights is None else [*loss_weights]
    made = trl.DPOTrainer(
        model=str(pico.path()),
        args=trl.DPOConfig(loss_type=[*loss_type], loss_weights=weights, gradient_checkpointing=False, **place, **settings),
        train_dataset=Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}]),
    )
    made.data_collator = dataclasses.replace(made.data_collator, pad_token_id=0)  # an id that bigrams know
    return made


def speaks(policy: Bigram) -> Any:
    """A policy as TRL's trainer asks one."""

    def answer(input_ids: Tensor, labels: Tensor, **_: Any) -> SimpleNamespace:
        logp = policy.table[input_ids[:, :-1], :VOCABULARY].log_softmax(-1).gather(-1, input_ids[:, 1:, None])[..., 0]
        logp = logp.masked_fill(labels[:, 1:] == -100, 0.0)
        other = torch.zeros_like(logp).detach()  # what is only logged
        return SimpleNamespace(log_probs=logp, entropy=other, mean_logits=other, is_top1=other.bool())

    return answer


def theirs(world: World, **settings: Any) -> tuple[float, Any]:
    """What TRL computes."""
    names = ("chosen_ids", "rejected_ids")
    with in_float64():
        one, policy = trainer(**settings), world.policy
        texts = [[r.rows[0].segments for r in group.rollouts] for group in world.groups]
        given = [
            {"prompt_ids": [*two[0][0].tokens]} | {name: [*text[1].tokens] for name, text in zip(names, two, strict=True)} for two in texts
        ]
        one.ref_model = speaks(world.reference)
        loss = one._compute_loss(speaks(policy), one.data_collator(given), return_outputs=False)
        loss.backward()
        return loss.item(), policy.gradient().numpy()


def differences(one: Any, length: int | None = None, count: int | None = None, **settings: Any) -> Iterator[float]:
    """From TRL, in loss or slope, of one world after another."""
    worlds = (pairs(number, length, count) for number in WORLDS)
    return (max(distance(ours(one, world), theirs(world, **settings))) for world in worlds)


def test_dpo_is_trls_sigmoid():
    assert max(differences(DPO, loss_type=("sigmoid",))) < SAME


def test_rft_is_trls_sft():
    """Both average over the chosen tokens of all pairs."""
    assert max(differences(RFT, loss_type=("sft",))) < SAME


def test_bco_without_a_shift_is_trls_bco_pair():
    """TRL 1.16 has none; 0.21, which MPO's released code asks for, took a running mean off both texts."""
    assert max(differences(but(BCO, "prefer", running=nothing), loss_type=("bco_pair",))) < SAME


def test_mpo_is_trls_mixture_of_three_where_both_average_alike():
    """TRL's `sft` averages over the tokens of its batch, MPO over those of each chosen text: the same where all are equally long, and where
    a batch is one pair, as in the code that MPO's paper released."""
    assert max(differences(UNSHIFTED, length=4, **MIXED)) < SAME
    assert max(differences(UNSHIFTED, count=1, **MIXED)) < SAME
    assert max(differences(BY_TOKEN, **MIXED)) < SAME


@pytest.mark.parametrize(
    ("change", "one"),
    {
        "each chosen text its own mean": UNSHIFTED,
        "the shift": but(BY_TOKEN, "quality", running=MPO.signals["quality"].running),
        "DPO's beta": but(BY_TOKEN, "prefer", objective=dpo(beta=0.2)),
        "BCO's beta": but(BY_TOKEN, "quality", objective=bco(beta=0.2)),
        "DPO's weight": but(BY_TOKEN, "prefer", weight=1.0),
        "both texts written": but(BY_TOKEN, "write", on=BY_TOKEN.signals["prefer"].on),
        "pairs added up": but(BY_TOKEN, "prefer", reduce=means(sum_over("group"))),
    }.items(),
)
def test_trls_mixture_is_nothing_else(change, one):
    assert any(apart > OTHER for apart in differences(one, **MIXED)), change


def by_hand(world: World, numbers: list[int], seen: list[float], beta: float = 0.1) -> tuple[float, float, Tensor]:
    """BCO of these pairs as a loop, the shift over what was seen before and these: shift, loss, and slope with the shift as a number."""
    old, policy, reference = world.old, world.policy, world.reference

    def h(moving: Bigram, rollout: Rollout) -> Tensor:
        tokens, start = rollout.rows[0].tokens, len(rollout.rows[0].segments[0].tokens)
        return sum(
            moving.logp(tokens[t - 1], tokens[t]) - reference.logp(tokens[t - 1], tokens[t]).detach() for t in range(start, len(tokens))
        )

    seen += [beta * h(old, r).item() for g in numbers for r in world.groups[g].rollouts]
    shift = math.fsum(seen) / len(seen)
    losses = []
    for better, worse in (world.groups[g].rollouts for g in numbers):
        losses.append(-logsigmoid(beta * h(policy, better) - shift) - logsigmoid(shift - beta * h(policy, worse)))
    loss = sum(losses) / len(losses)
    loss.backward()
    return shift, loss.item(), policy.gradient()


def test_bcos_shift_is_the_mean_over_every_text_so_far_the_minibatch_at_hand_included():
    """Over two batches, each cut into minibatches of unequal sizes. No slope passes through the shift."""
    running: dict[str, list[float]] = {}
    seen: list[float] = []
    for number, sizes in ((2, [3, 1, 2]), (3, [1, 4])):
        world = pairs(number, count=sum(sizes))
        with in_float64():
            batch, first = settle(BCO, world.batch()), 0
            for step, (mini, size) in enumerate(zip(batch.minibatches(sizes), sizes, strict=True)):
                mini, running = follow(BCO, mini, running, (number, step))
                policy = world.policy
                facts = backward(BCO, mini, policy, 10**6, 0.0, (number, step))
                shift, loss, slope = by_hand(world, [*range(first, first + size)], seen)
                first += size
                assert abs(mini.facts["running_prefer"].item() - shift) < SAME
                assert running["prefer"][1] == len(seen)
                assert abs(facts["loss/prefer"] - loss) < SAME
                torch.testing.assert_close(policy.gradient(), slope, atol=SAME, rtol=0)


def test_trls_earlier_shift_is_the_same_where_minibatches_are_alike():
    """TRL 0.21 gave its running mean each batch's mean as one number, so a short last batch counted as much as a full one."""
    for sizes, alike in (([2, 2, 2], True), ([3, 1, 2], False)):
        with in_float64():
            batch = settle(BCO, pairs(5, count=6).batch())
            means_so_far, running, apart = [], dict[str, list[float]](), 0.0
            for step, mini in enumerate(batch.minibatches(sizes)):
                before = running.get("prefer", [0.0, 0])
                mini, running = follow(BCO, mini, running, (0, step))
                here = [now - then for now, then in zip(running["prefer"], before, strict=True)]
                means_so_far.append(here[0] / here[1])
                apart = max(apart, abs(sum(means_so_far) / len(means_so_far) - mini.facts["running_prefer"].item()))
        assert (apart < SAME) == alike


@pytest.mark.slow  # a real model on both sides
def test_a_real_model_is_trained_as_trl_trains_it(tmp_path):
    """Two updates of pico in float32, DPO with the chosen text's likelihood beside it: token ids, losses and the gradient of every weight.
    TRL's trainer does all of it: chat template, collator, two models, clipping, AdamW."""
    import trl
    from datasets import Dataset
    from torch.utils.data import SequentialSampler

    rng = random.Random(0)
    rows = [{"prompt": f"{n} + {n}?", "chosen": "yes " * rng.randint(1, 9), "rejected": f"{n} " * rng.randint(1, 9)} for n in range(40)]
    (tmp_path / "pairs.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    write = Signal(cross_entropy(), on=chosen, reduce=means("token"))
    one = DPO.but("dpo-written", signals={"write": write}, update=AdamW(lr=1e-4), tasks=8)
    settings: dict[str, Any] = {"data": str(tmp_path / "pairs.jsonl"), "instruct": "no", "steps": 2, "eval_tasks": 0, "lr": 1e-4}
    run = create(Recipe(method=one, **settings), tmp_path / "run")
    here: list[dict[str, Tensor]] = []
    clip = run.learner.clip

    def seen() -> float:
        here.append({name.removeprefix("model."): p.grad.clone() for name, p in run.policy.parameters().items()})
        return clip()

    run.learner.clip = seen
    lines = [run.advance(), run.advance()]
    groups = [Group.from_json(g) for step in range(2) for g in run.record(step)["groups"]]

    there: list[dict[str, Tensor]] = []

    class InOrder(trl.DPOTrainer):
        def _get_train_sampler(self, *_: Any) -> SequentialSampler:
            return SequentialSampler(self.train_dataset)

        def training_step(self, model: Any, *rest: Any) -> Tensor:
            loss = super().training_step(model, *rest)
            there.append({n: p.grad.clone() for n, p in model.named_parameters()})
            return loss

    given = [{"prompt": g.task.prompt, "chosen": g.task.needs["chosen"], "rejected": g.task.needs["rejected"]} for g in groups]
    roles = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
    theirs = InOrder(
        model=str(pico.path()),
        args=trl.DPOConfig(
            output_dir=str(tmp_path / "trl"),
            loss_type=["sigmoid", "sft"],
            per_device_train_batch_size=8,
            max_steps=2,
            learning_rate=1e-4,
            lr_scheduler_type="constant",
            logging_steps=1,
            save_strategy="no",
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            report_to="none",
        ),
        train_dataset=Dataset.from_list([{f: [{"role": role, "content": row[f]}] for f, role in roles.items()} for row in given]),
    )
    theirs.train()

    for group, row in zip(groups, theirs.train_dataset, strict=True):
        for text, side in zip(group.rollouts, ("chosen", "rejected"), strict=True):
            assert list(text.rows[0].tokens) == row["prompt_ids"] + row[f"{side}_ids"]
    for line, said, ours, slopes in zip(lines, theirs.state.log_history[:2], here, there, strict=True):
        assert abs(sum(line["loss"].values()) - said["loss"]) < 1e-5 * said["loss"]
        assert ours.keys() == slopes.keys()
        largest = max(slope.abs().max().item() for slope in slopes.values())
        assert max((ours[name] - slopes[name]).abs().max().item() for name in ours) < 1e-5 * largest
