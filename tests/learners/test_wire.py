"""Commands to ranks travel as JSON and tensors, and arrive as they were sent."""

from dataclasses import fields
from pathlib import Path

import pytest
import torch

from strop.batch import pack
from strop.learners import wire
from strop.records import Author, Group, Rollout, Row, Sampling, Segment, Span, Task


def batch():
    cool = Sampling(temperature=0.5, allowed=(1, 2, 3))
    action = Segment("action", (5, 6, 7), "0.0", Author("actor", 0, cool), (-0.1, -0.2, -0.3), spans=(Span("late", 1, 3),))
    rollouts = [Rollout((Row.of(Segment("prompt", (1, 2), "0"), action),), unit) for unit in ("a", "b")]
    made = pack([Group(Task("", {}, ""), tuple(rollouts))], {}, {"a": 1.0, "b": None}, 3)
    return made.with_(credit_T=torch.tensor([float("nan"), 0.1, 1.0, 2.0, 3.0, 1e-30]))


def test_a_batch_arrives_as_it_was_sent():
    sent = batch()
    command, (got, fraction, key, want, used_T, path) = wire.decode(
        wire.encode("backward", (sent, 0.1, (0, 1, 2), frozenset({"logp_T"}), None, Path("/run")))
    )
    assert (command, fraction, key, want, used_T, path) == ("backward", 0.1, (0, 1, 2), frozenset({"logp_T"}), None, Path("/run"))
    assert (got.rows, got.units, got.samplings) == (sent.rows, sent.units, sent.samplings)
    for name in ("kind_T", "trains_T", "sampling_T", "weight_R"):
        assert torch.equal(getattr(got, name), getattr(sent, name)), name
    for name in ("tracks", "facts", "labels"):
        mine, theirs = getattr(got, name), getattr(sent, name)
        assert mine.keys() == theirs.keys()
        for key in mine:
            torch.testing.assert_close(mine[key], theirs[key], rtol=0, atol=0, equal_nan=True)
    for field in fields(sent.index):
        assert torch.equal(torch.as_tensor(getattr(got.index, field.name)), torch.as_tensor(getattr(sent.index, field.name)))


def test_what_is_no_record_and_no_tensor_is_refused():
    with pytest.raises(TypeError, match="no rank can be told of a function"):
        wire.encode("evaluate", (batch,))
