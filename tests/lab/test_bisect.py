"""Two runs that differ in one planted thing: its step, its stage and its name are given."""

import gzip
import json
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))
from recorded import BASE as RECIPE
from recorded import record

from strop import durable, pico
from strop.cli import main
from strop.directory import Recording
from strop.lab.bisect import bisect
from strop.methods.grpo import GRPO
from strop.recipe import Recipe
from strop.run import create
from strop.seams.correction import truncated
from strop.seams.credit import group_standardized
from strop.seams.curriculum import Uniform
from strop.seams.gate import DropFlat, MaskOverlong
from strop.seams.objective import clipped_surrogate
from strop.seams.reduction import means
from strop.seams.reward import outcome_and_format
from strop.seams.update import AdamW

POLICY = GRPO.signals["policy"]


BASE = GRPO.but("base", update=AdamW(minibatch=2))
"""Two updates a step, so that ratios and clips are felt."""


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    place = tmp_path_factory.mktemp("origin") / "run"
    recorded(place, steps=2)
    return place


def recorded(place, method=BASE, **changes):
    record(place, method=method, **changes)
    return place


def named(found):
    return [cause.where for cause in found.causes]


def on_the_record(origin, place, foreign=False, lr=RECIPE["lr"], **changes):
    """The method with a seam replaced, on the same groups and as if it had drawn them: only what is planted differs."""
    lied = "mismatch-ratio=off,mismatch-kl=off,mismatch-ess=off"  # the tripwires see that it did not draw them
    recipe = Recipe(**{**RECIPE, "steps": 2, "lr": lr, "method": BASE.but(**changes), "tripwire": lied})
    create(recipe, place, recording=Recording(origin, 2, foreign)).train()
    return place


def test_equal_runs_are_said_to_be_equal(origin, tmp_path):
    found = bisect(origin, recorded(tmp_path / "again", steps=2))
    assert found.equal
    assert found.steps == 2
    assert "all digests are equal over 2 steps" in found.text()


@pytest.mark.parametrize(
    ("changes", "stage", "cause"),
    [
        ({"credit": (group_standardized(std_floor=0.9),)}, "credit", "credit[0].std_floor"),
        ({"credit": (group_standardized(unbiased=True),)}, "credit", "credit[0].unbiased"),
        ({"correction": truncated(cap=0.5)}, "credit", "correction"),
        (
            {"signals": {"policy": POLICY.but(objective=clipped_surrogate(clip_low=0.2, clip_high=1e-5))}},
            "weights",
            "signals.policy.objective.clip_high",
        ),
        ({"signals": {"policy": POLICY.but(reduce=means("token"))}}, "weights", "signals.policy.reduce.levels"),
        (
            {"signals": {"policy": POLICY.but(weight=2.0)}, "update": AdamW(minibatch=2, clip_norm=None)},
            "weights",
            "signals.policy.weight",
        ),
        ({"update": AdamW(minibatch=2, betas=(0.5, 0.999))}, "weights", "update.betas[0]"),
        ({"gate": (MaskOverlong(),), "reward": outcome_and_format(format_share=0.5)}, "groups", "reward"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_a_planted_constant_is_named_with_its_stage(changes, stage, cause, origin, tmp_path):
    found = bisect(origin, on_the_record(origin, tmp_path / "other", **changes))
    assert (found.step, found.stage) == (0, stage), found.text()
    assert named(found)[0] == cause, found.text()


def test_a_constant_that_moves_the_optimiser_alone_is_named(origin, tmp_path):
    """At learning rate 0 the weights stay, and only the optimiser remembers."""
    still = on_the_record(origin, tmp_path / "still", lr=0.0)
    found = bisect(still, on_the_record(origin, tmp_path / "other", lr=0.0, update=AdamW(minibatch=2, betas=(0.5, 0.999))))
    assert (found.step, found.stage, named(found)) == (0, "optimiser", ["update.betas[0]"])


def test_another_seed_is_named_with_the_first_group_that_differs(origin, tmp_path):
    found = bisect(origin, recorded(tmp_path / "other", steps=1, seed=2))
    assert (found.step, found.stage, found.what) == (0, "groups", "task")
    assert named(found) == ["seed"]
    assert "group 0" in found.where


def test_another_curriculum_is_named(origin, tmp_path):
    found = bisect(origin, recorded(tmp_path / "other", steps=1, method=BASE.but(curriculum=Uniform())))
    assert (found.what, named(found)) == ("task", ["curriculum"])


def test_another_sampler_is_named_with_the_first_token_that_differs(origin, tmp_path):
    from dataclasses import replace

    from strop.records import Sampling

    warm = BASE.but(sampler=replace(GRPO.sampler, sampling=Sampling(temperature=0.7)))
    found = bisect(origin, recorded(tmp_path / "other", steps=1, method=warm))
    assert (found.stage, found.what) in {("groups", "tokens"), ("groups", "logp")}
    assert named(found) == ["sampler.sampling.temperature"]
    assert "token" in found.where


def test_another_size_of_group_is_named(origin, tmp_path):
    found = bisect(origin, recorded(tmp_path / "other", steps=1, group=4))
    assert (found.what, named(found)) == ("rollouts", ["sampler.n"])


def test_another_gate_is_named_as_the_fate_it_gave(origin, tmp_path):
    found = bisect(origin, on_the_record(origin, tmp_path / "other", gate=(DropFlat(tolerance=1.0),)))
    assert (found.stage, found.what) == ("groups", "fates")
    assert named(found) == ["gate"]


def plant(origin, place, change):
    """The run copied, with its first record and the digest of its groups changed."""
    shutil.copytree(origin, place)
    path = place / "groups" / "000000.json.gz"
    data = json.loads(gzip.decompress(path.read_bytes()))
    change(data)
    path.write_bytes(gzip.compress(json.dumps(data).encode()))
    metrics = [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]
    metrics[0]["digest"]["groups"] = "planted"
    durable.write(place / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in metrics).encode())
    return place


def _token(data):
    data["groups"][1]["rollouts"][2]["rows"][0]["segments"][1]["tokens"][1] += 1


def _logp(data):
    data["groups"][1]["rollouts"][2]["rows"][0]["segments"][1]["logp"][3] -= 1e-6


def _prompt(data):
    data["groups"][0]["rollouts"][0]["rows"][0]["segments"][0]["tokens"][0] += 1


def _score(data):
    unit = sorted(data["scores"]["values"])[0]
    data["scores"]["values"][unit]["outcome"] = 0.5


@pytest.mark.parametrize(
    ("change", "what", "where"),
    [(_token, "tokens", "token 1"), (_logp, "logp", "token 3"), (_prompt, "prompt", "token 0"), (_score, "scores", "0.5")],
    ids=["token", "logp", "prompt", "score"],
)
def test_the_first_token_or_score_that_differs_is_found(change, what, where, origin, tmp_path):
    found = bisect(origin, plant(origin, tmp_path / "other", change))
    assert (found.step, found.stage, found.what) == (0, "groups", what)
    assert where in found.where
    assert not found.causes
    assert "outside the record" in found.text()


def test_another_version_or_number_of_threads_is_named_where_nothing_else_differs(origin, tmp_path):
    place = plant(origin, tmp_path / "other", _logp)
    about = json.loads((place / "recipe.json").read_text())
    about["versions"]["torch"], about["threads"] = "1.0", 64
    (place / "recipe.json").write_text(json.dumps(about))
    assert named(bisect(origin, place)) == ["versions.torch", "threads"]


def test_rollouts_of_another_learner_differ_in_credit_when_they_are_measured_again(origin, tmp_path):
    found = bisect(origin, on_the_record(origin, tmp_path / "other", foreign=True))
    assert found.stage == "credit"
    assert named(found) == ["correction", "replay.foreign"]


def test_a_longer_run_is_equal_as_far_as_both_go(origin, tmp_path):
    """The schedule is constant, so the number of steps changes nothing before the end."""
    found = bisect(origin, recorded(tmp_path / "other", steps=1))
    assert found.equal
    assert found.steps == 1
    assert "has 1 more" in found.text()


def test_a_line_without_a_digest_of_credit_is_compared_in_what_it_has(origin, tmp_path):
    shutil.copytree(origin, tmp_path / "old")
    old = [json.loads(line) for line in (origin / "metrics.jsonl").read_text().splitlines()]
    for line in old:
        del line["digest"]["credit"]
    (tmp_path / "old" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in old))
    assert bisect(origin, tmp_path / "old").equal


def test_the_command_prints_the_finding_as_json(origin, tmp_path, capsys):
    other = on_the_record(origin, tmp_path / "other", credit=(group_standardized(std_floor=0.9),))
    main(["bisect", str(origin), str(other), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["equal"], found["step"], found["stage"]) == (False, 0, "credit")
    assert found["causes"][0] == {"where": "credit[0].std_floor", "first": 0.0001, "second": 0.9}
    with pytest.raises(SystemExit) as stop:
        main(["bisect", str(origin), str(tmp_path / "nowhere")])
    assert stop.value.code == 2
    assert "holds no run" in capsys.readouterr().err


def test_another_model_is_named(origin, tmp_path):
    """A model whose weights differ a little draws other tokens, or the same ones with other log-probabilities."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(pico.path())
    with torch.no_grad():
        next(model.parameters()).mul_(1.01)
    shutil.copytree(pico.path(), tmp_path / "model")
    model.save_pretrained(tmp_path / "model")
    found = bisect(origin, recorded(tmp_path / "other", steps=1, model=str(tmp_path / "model")))
    assert found.what in ("tokens", "logp")
    assert named(found) == ["model"]
