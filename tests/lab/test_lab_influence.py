"""strop lab influence on runs of their own: demonstrations and rollouts, and a study that is stopped and goes on."""

import json

import pytest

from strop.cli import Usage, main, understood
from strop.commands.lab import influence as command
from strop.lab import learned
from strop.lab.influence import Example, Text
from strop.lab.learned import Chosen, examples, tasks_of
from strop.loop import Run
from strop.methods import method
from strop.methods.grpo import GRPO
from strop.methods.sft import SFT
from strop.recipe import Recipe
from strop.run import create
from strop.seams.sampler import Independent
from strop.seams.update import AdamW
from strop.tasks import source

ASKED = ["--by", "source,steps", "--tasks", "60", "--show", "1", "--max-tokens", "32"]


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    place, pool = tmp_path_factory.mktemp("influence") / "run", "pool:24:chain:steps=1+chain:steps=2"
    create(Recipe(method=SFT.but("sft-x", tasks=12), task=pool, model="pico", lr=1e-3, steps=5, eval_tasks=0), place).train()
    return place


def said(capsys, *words):
    main(["lab", "influence", *map(str, words), "--json"])
    return json.loads(capsys.readouterr().out)


def test_a_demonstration_is_one_example_however_often_it_came(taught):
    made = examples(taught, ("source", "steps"))
    assert len(made) == 24
    assert {one.about["class"] for one in made} == {"chain 1", "chain 2"}
    assert sum(one.about["times"] for one in made) == 60
    assert {one.about["task"] for one in made} == {*tasks_of(taught)}
    for one in made:
        (text,) = one.texts
        assert text.weight == (1.0,) * len(text.at)
        assert text.at == tuple(range(text.at[0], len(text.tokens)))


def test_a_rollout_counts_by_its_credit(tmp_path):
    drawn = GRPO.but("grpo-x", sampler=Independent(n=4, max_tokens=24), update=AdamW(), tasks=6)
    create(Recipe(method=drawn, task="skewed", model="pico", steps=1, eval_tasks=0), tmp_path / "run").train()
    made = examples(tmp_path / "run")
    assert len(made) == 24
    sums = {}
    for one in made:
        (weight,) = {*one.texts[0].weight}
        sums.setdefault(one.about["task"], []).append(weight)
    assert all(abs(sum(weights)) < 1e-5 for weights in sums.values()), "a group's credits are centred"
    assert any(max(weights) > 0.5 for weights in sums.values())


def test_the_study_says_what_each_class_does_and_keeps_what_is_done(taught, tmp_path, capsys, monkeypatch):
    out = tmp_path / "kept"
    found = said(capsys, taught, *ASKED, "--out", out, "--picture", tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 5000
    assert found["classes"]["chain"].keys() == {"chain 1", "chain 2"}
    each = found["each"]
    assert len(each) == 24
    by = {kind: [one["influence"]["chain"] for one in each if one["class"] == kind] for kind in ("chain 1", "chain 2")}
    assert all(sum(values) / len(values) == pytest.approx(found["classes"]["chain"][kind]["mean"]) for kind, values in by.items())
    (top,) = found["tops"]["chain"]["largest"]
    assert top["influence"] == max(one["influence"]["chain"] for one in each) == pytest.approx(sum(v for _, v in top["lines"]))
    for part in ("influence.curved", "influence.influence", "learned.right"):
        monkeypatch.setattr(f"strop.lab.{part}", lambda *_, **__: pytest.fail("made again"))
    again = said(capsys, taught, *ASKED, "--out", out)
    assert {**again, "picture": found["picture"]} == found
    _, args = understood(["lab", "influence", str(taught), *ASKED, "--damping", "1", "--out", str(out)])
    with pytest.raises(Usage, match="holds a study of other examples or settings"):
        command.run(args)


@pytest.mark.slow
def test_a_study_that_is_stopped_inside_a_retraining_goes_on_where_it_was(taught, tmp_path, capsys, monkeypatch):
    words, real, steps = [taught, *ASKED, "--lds", 4, "--retrain", 1, "--out"], Run.advance, []

    def stopped(run, *args, **more):
        steps.append(run.directory.name)
        if len(steps) == 6:
            raise KeyboardInterrupt
        return real(run, *args, **more)

    whole = said(capsys, *words, tmp_path / "whole")
    held = whole["lds"]["targets"]["chain"]
    assert held["score"].keys() == {"EK-FAC", "dot product", "length", "loss"}
    assert len({*held["came"]}) == 4
    monkeypatch.setattr(Run, "advance", stopped)
    with pytest.raises(SystemExit):
        said(capsys, *words, tmp_path / "kept")
    capsys.readouterr()
    done = len([*(tmp_path / "kept" / "halves").glob("*.json")])
    assert 0 < done < 4
    monkeypatch.setattr(Run, "advance", real)
    begun, made = [], learned.again
    monkeypatch.setattr(learned, "again", lambda *args, **more: begun.append(args[-1].name) or made(*args, **more))
    found = said(capsys, *words, tmp_path / "kept")
    assert begun == [f"{n}-0" for n in range(done, 4)]
    assert found["lds"]["targets"]["chain"]["came"] == held["came"]
    assert {path.suffix for path in (tmp_path / "kept" / "halves").iterdir()} == {".json"}, "what was trained is gone"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--damping", "-1"], "--damping is at least 0"),
        (["--lds", "2"], "fewer than 4 halves"),
        (["--show", "-1"], "--show is at least 0"),
        (["--picture", "p.gif"], "--picture writes"),
        (["--by", "sourse"], "no 'sourse' to tell its class by. Did you mean 'source'"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_words(taught, words, says):
    _, args = understood(["lab", "influence", str(taught), *words])
    with pytest.raises(ValueError, match=says):
        command.run(args)


def test_a_model_that_is_no_run_is_refused():
    _, args = understood(["lab", "influence", "pico"])
    with pytest.raises(Usage, match="pico is no run"):
        command.run(args)


def test_memory_is_told_before_anything_is_loaded_and_what_does_not_fit_is_refused(taught, capsys, monkeypatch):
    monkeypatch.setattr("strop.policies.causal.load", lambda *_, **__: pytest.fail("loaded"))
    found = said(capsys, taught, "--plan")
    assert found["memory"]["a pass"] > found["memory"]["weights"] > 0
    monkeypatch.setattr("strop.commands.plan.available", lambda _: 2**20)
    _, args = understood(["lab", "influence", str(taught)])
    with pytest.raises(Usage, match=r"that does not fit: .* takes [0-9,]+ MiB. Lower --token-budget"):
        command.run(args)


def test_questions_that_were_trained_on_are_no_target(taught):
    from strop import engines
    from strop.lab.learned import right
    from strop.policies.causal import load
    from strop.seams.context import Handle

    policy = load("pico")
    handle = Handle(engines.build(policy, Recipe()), policy.renderer)
    handle.engine.begin(-1)
    chain = source("chain:steps=1")
    from strop.evaluate import HELD_OUT_SEED

    known = {chain.task("test", HELD_OUT_SEED, n).id for n in range(10)}
    found, met = right(handle, chain, 30, ("source",), most=32, taught=known)
    assert met == 10
    assert not known & {one.task for one in found}


def test_chosen_tasks_alone_are_given_whatever_the_seed():
    inner = source("chain")
    tasks = tuple(inner.task("train", 0, n) for n in (5, 2))
    made = Chosen(inner, tasks, inner.name)
    assert [made.task("train", seed, n) for seed in (0, 9) for n in (0, 1)] == [*tasks, *tasks]
    assert made.task("test", 1, 3) == inner.task("test", 1, 3)
    assert made.gold(tasks[0]) == inner.gold(tasks[0])


def test_a_credit_of_numbers_that_no_record_keeps_is_refused_in_words(tmp_path):
    ppo = method("ppo").but(tasks=2, sampler=Independent(n=1, max_tokens=8), update=AdamW())
    create(Recipe(method=ppo, task="chain", steps=1, eval_tasks=0), tmp_path / "run").train()
    with pytest.raises(ValueError, match=r"'ppo': its credit 'kl_in_reward' reads reference_logp_T, which .* no record keeps"):
        examples(tmp_path / "run")


def test_lines_of_a_reply_hold_what_their_tokens_do():
    class Letters:
        def text(self, ids):
            return "".join(map(chr, ids))

    text = Text(tuple(map(ord, "?ab\nc\n")), (1, 2, 3, 4, 5), (1.0,) * 5)
    assert command.lines(Letters(), text, [1.0, 2.0, 3.0, 4.0, 5.0]) == [["ab", 6.0], ["c", 9.0]]
    assert Example("x", (text,)).length == 5
