"""Policies that are trained beside the actor: two tables that agree on a code, and two models in one dialogue."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from strop import durable, own, pico, staged
from strop.batch import heard, pack
from strop.cli import main
from strop.directory import read_metrics
from strop.identity import explain
from strop.lab import tabular
from strop.lab.tabular import TabularPolicy
from strop.methods.grpo import GRPO
from strop.metrics import digest
from strop.policies.adapters import whole
from strop.program import Program, Stage, steps
from strop.recipe import Recipe
from strop.records import Author, Fate, Group, Rollout, Row, Segment, Task
from strop.run import create, resume
from strop.saved import load
from strop.seams.asked import Asked, Trained
from strop.seams.context import Ctx, Footprint
from strop.seams.feed import Rollouts
from strop.seams.role import Role
from strop.seams.swarm import Swarm
from strop.seams.update import AdamW, Still
from strop.tripwires import Tripped

players = own.loaded(Path(__file__).parent.parent / "examples" / "two_players.py")
TWO = players.TWO


def recipe(method=TWO, **changes):
    return Recipe(**{"method": method, "steps": 3, "lr": 0.1, "tasks": 2, "group": 4, "eval_tasks": 0, "checkpoint_every": 2, **changes})


def plain(directory):
    return [{**line, "t": 0} for line in read_metrics(directory)]


def weights(run, name):
    return run.pupils[name].policy.logits.detach().clone()


# What moves whom.


def by_hand(table, groups, rewards, policy):
    """The slope of the mean over groups, rollouts and tokens of -A ratio, entry by entry; A is the reward less its group's mean, and the
    ratio is 1 but for the rounding of what was recorded."""
    slope = torch.zeros_like(table)
    language = policy.language
    for group in groups:
        mean = sum(rewards[r.id] for r in group.rollouts) / len(group.rollouts)
        for rollout in group.rollouts:
            prompt, action = rollout.rows[0].segments
            place = prompt.tokens[0] - language.vocab
            at = 0
            for token, drawn in zip(action.tokens, action.logp, strict=True):
                chance = table[place, at].softmax(-1)
                ratio = (chance[token].log() - drawn).exp()
                share = ratio * (rewards[rollout.id] - mean) / len(action.tokens) / len(group.rollouts) / len(groups)
                for other in range(language.vocab):
                    slope[place, at, other] -= share * (float(other == token) - chance[other])
                at = at * language.words + token
    return slope


def test_each_player_moves_by_the_slope_of_its_own_loss_computed_by_hand(tmp_path):
    run = create(recipe(steps=1, tasks=4, group=8), tmp_path / "run", **players.tables(0))
    before, slopes = {name: weights(run, name) for name in run.pupils}, {}
    for name, one in run.pupils.items():

        def clip(name=name, one=one, clip=one.learner.clip):
            slopes[name] = one.policy.logits.grad.clone()
            return clip()

        one.learner.clip = clip
    run.train()
    record = run.record(0)
    groups = [Group.from_json(g) for g in record["groups"]]
    for name, role in {"actor": "solve", "guesser": "guess"}.items():
        mine = [g for g in groups if g.role == role]
        slope = by_hand(before[name], mine, record["rewards"], run.pupils[name].policy)
        assert len(mine) == {"actor": 4, "guesser": 32}[name]
        assert slope.abs().max() > 1e-3
        torch.testing.assert_close(slopes[name], slope, rtol=0, atol=1e-12)
        moved = before[name] - 0.1 * slope / (slope.abs() + 1e-8)  # AdamW's first step; the norm is below the clip
        torch.testing.assert_close(weights(run, name), moved, rtol=0, atol=1e-9)


@pytest.mark.slow  # forty steps
def test_a_code_comes_up(tmp_path):
    run = create(recipe(steps=40, tasks=4, group=8), tmp_path / "run", **players.tables(0))
    at = [players.agreed(run.policy, run.pupils["guesser"].policy)]
    run.train()
    at.append(players.agreed(run.policy, run.pupils["guesser"].policy))
    assert at[0] < 0.3
    assert at[1] > 0.7
    lines = read_metrics(tmp_path / "run")
    assert lines[-1]["policies"]["guesser"]["reward"] > 0.7


def test_a_step_makes_one_update_of_each_by_its_own_rule_and_bills_it_under_its_name(tmp_path):
    method = TWO.but(policies={"guesser": Trained(AdamW(lr=0.01, epochs=2, minibatch=4))})
    create(recipe(method), tmp_path / "run", **players.tables(0)).train()
    for line in read_metrics(tmp_path / "run"):
        assert line["updates"] == 1
        assert line["policies"]["guesser"]["updates"] == 2 * 8 / 4
        assert line["policies"]["guesser"]["rollouts"] == line["policies"]["guesser"]["watch"]["trained"] == 8 * 4
        assert line["mismatch"] < 1e-4
        assert line["policies"]["guesser"]["mismatch"] < 1e-4
    bill = line["bill"]
    assert bill["guesser/decoded"] == bill["guesser/trained"] / 4, "two epochs over rows of a prompt and one token"
    assert bill["decoded"] == bill["trained"] / 2
    assert line["roles"]["guess"]["rollouts"] == 8 * 4


@dataclass(frozen=True)
class Nobody:
    """Drops every rollout."""

    refill: int = 0

    def __call__(self, group, seen):
        return {unit: Fate("drop", why="nobody") for unit in seen.rewards}


@pytest.mark.parametrize("still", ["guesser", "actor"])
def test_groups_of_one_role_never_move_another_policy(tmp_path, still):
    """Whoever has no group that is kept stays as it is, to the bit, and its line says so."""
    gate = {"roles": {"guess": Role(policy="guesser", gate=(Nobody(),))}} if still == "guesser" else {"gate": (Nobody(),)}
    run = create(recipe(TWO.but(**gate)), tmp_path / "run", **players.tables(0))
    before = {name: weights(run, name) for name in run.pupils}
    run.train()
    assert [name for name in run.pupils if torch.equal(before[name], weights(run, name))] == [still]
    for line in read_metrics(tmp_path / "run"):
        said = {"actor": line, **line["policies"]}
        assert [name for name, one in said.items() if not one["updates"]] == [still]
        assert said[still]["grad_norm"] == 0


def test_two_policies_that_are_asked_at_one_place_draw_apart(tmp_path):
    """Alike tables, alike prompts: the noise alone tells the players apart."""
    import asyncio

    parts = players.tables(0)
    twin = TabularPolicy(4, parts["policy"].language, seed=0, spread=0.1)
    run = create(recipe(), tmp_path / "run", **{**parts, "policies": {"guesser": twin}})
    twin.logits.data.copy_(run.policy.logits.data)

    async def drawn(engine):
        root = await engine.open((5,), root="here")
        return [(await engine.generate(root, max=1)).segment.tokens for _ in range(40)]

    said = {name: asyncio.run(drawn(one.engine)) for name, one in run.pupils.items()}
    assert said["actor"] != said["guesser"]
    assert said["actor"] == asyncio.run(drawn(tabular.TabularEngine(run.policy, seed=0))), "the actor's noise is what it was"


# Whose text a row is.


def row(*who):
    """A prompt and one token by each of these, a turn of the world wherever nobody is named."""
    made = [Segment("prompt", (1, 2), "0")]
    for at, name in enumerate(who):
        author = Author(name, 0) if name else None
        made.append(Segment("action" if name else "observation", (10 + at,), f"0.{at}", author, (-1.0,) if name else None))
    return Row.of(*made)


def test_of_a_dialogue_a_policy_is_trained_by_what_it_wrote_and_hears_the_rest():
    group = Group(Task("?", {}, "x"), (Rollout((row("actor", "guesser", "", "actor"),), "a"),), id="g")
    for name, at in {"actor": (2, 5), "guesser": (3,)}.items():
        (mine,) = heard([group], {"actor", "guesser", "judge"} - {name})
        batch = pack([mine], {}, {"a": 1.0}, 0)
        assert batch.rows[0].tokens == (1, 2, 10, 11, 12, 13)
        assert batch.rows[0].at == at
        assert batch.trains_T.all()
        assert mine.rollouts[0].length == len(at)
    assert heard([group], {"judge"}) == [group]


def test_a_grader_reads_each_groups_tracks_under_the_policy_that_it_trains(tmp_path):
    run = create(recipe(steps=1), tmp_path / "run", **players.tables(0))
    run.train()
    groups = [Group.from_json(g) for g in run.record(0)["groups"]][::-1]  # in any order
    batch = run.evaluate(groups, "online", frozenset({"logp_T"}))
    told = iter(batch.tracks["logp_T"].tolist())
    for group in groups:
        policy = run.pupils[{"solve": "actor", "guess": "guesser"}[group.role]].policy
        for rollout in group.rollouts:
            prompt, action = rollout.rows[0].segments
            chance = policy.logits[prompt.tokens[0] - policy.language.vocab, 0].log_softmax(-1)[action.tokens[0]]
            assert next(told) == pytest.approx(chance.item(), abs=1e-6)
    assert next(told, None) is None
    assert run.bill.scored["guesser/scored"] == 2 * sum(len(g.rollouts) for g in groups if g.role == "guess")


# Kills, replays, programs.


class Killed(BaseException):
    pass


def until(point):
    left = [point]

    def die(_=""):
        left[0] -= 1
        if left[0] < 0:
            raise Killed

    return die


def everything(directory):
    last = sorted(p for p in (directory / "checkpoints").iterdir() if p.name.isdigit())[-1]
    return plain(directory), json.loads((last / "state.json").read_text()), (last / "hash").read_text()


@pytest.mark.parametrize("every", [13, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_any_write_both_go_on_as_if_nothing_had_been(tmp_path, every):
    points = []
    durable.watch(points.append)
    create(recipe(), tmp_path / "whole", **players.tables(0)).train()
    durable.watch(None)
    whole = everything(tmp_path / "whole")
    assert set(whole[1]["policies"]) == {"guesser"}
    assert "torn" in points
    for at in range(0, len(points), every):
        place = tmp_path / str(at)
        durable.watch(until(at))
        try:
            with pytest.raises(Killed):
                create(recipe(), place, **players.tables(0)).train()
        finally:
            durable.watch(None)
        if (place / "recipe.json").exists():
            resume(place, say=lambda _: None, method=TWO, **players.tables(0)).train()
        else:
            create(recipe(), place, **players.tables(0)).train()
        assert everything(place) == whole, points[at]


def test_weights_of_another_policy_that_are_not_those_written_are_not_used(tmp_path):
    create(recipe(steps=4), tmp_path / "run", **players.tables(0)).train()
    whole = plain(tmp_path / "run")
    newest = tmp_path / "run" / "checkpoints" / "000004" / "policies" / "guesser" / "optimiser.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    said = []
    run = resume(tmp_path / "run", say=said.append, method=TWO, **players.tables(0))
    assert any("000004 is damaged" in line for line in said)
    assert run.step == 2
    run.train()
    assert plain(tmp_path / "run") == whole


def test_a_replay_of_the_same_recipe_gives_the_same_lines_and_another_methods_is_refused(tmp_path):
    from strop.replay import plan

    create(recipe(), tmp_path / "run", **players.tables(0)).train()
    found = plan(tmp_path / "run", own=TWO)
    create(found.recipe, tmp_path / "again", recording=found.recording, **players.tables(0)).train()
    assert plain(tmp_path / "again") == plain(tmp_path / "run")
    alone = TWO.but("alone", policies={}, roles={"guess": Role()})
    with pytest.raises(ValueError, match=r"'alone' trains the actor, and the rollouts in .* train the actor and guesser"):
        plan(tmp_path / "run", alone, own=TWO)


def test_where_two_runs_part_is_found_in_a_policy_beside_the_actor_too(tmp_path):
    from strop.lab.bisect import bisect

    for lr in (0.1, 0.2):
        method = TWO.but(policies={"guesser": Trained(AdamW(lr=lr))})
        create(recipe(method, steps=2), tmp_path / str(lr), **players.tables(0)).train()
    found = bisect(tmp_path / "0.1", tmp_path / "0.2")
    assert (found.step, found.stage, found.where) == (0, "weights", "of the policy guesser")
    assert found.causes[0].where == "policies.guesser.update.lr"


@pytest.mark.parametrize("keeps", [(), ("optimiser",)])
def test_a_later_stage_goes_on_with_both_policies_last_weights(tmp_path, keeps):
    """Over a stage that does not have the second one; or with both optimisers."""
    between = () if keeps else (Stage("between", GRPO.but(tasks=2, update=Still()), steps(1)),)
    first, after = Stage("first", TWO, steps(2)), Stage("after", TWO, steps(1), keeps=keeps)
    program = Program("some", (first, *between, after, Stage("anew", TWO, steps(1), begins="initial")))
    parts = players.tables(0)
    began = {}
    made = staged.create(recipe(program), tmp_path / "run", **parts)
    initial = {name: one.digest_weights() for name, one in made.now.pupils.items()}
    for run in made.runs():
        began[run.directory.name.partition("-")[2]] = {
            name: (one.digest_weights(), one.digest_optimiser()) for name, one in run.pupils.items()
        }
        run.train()
    left = read_metrics(made.places[0])[-1]
    left = {"actor": left["digest"], "guesser": left["policies"]["guesser"]["digest"]}
    assert {name: digest for name, (digest, _) in began["after"].items()} == {name: one["weights"] for name, one in left.items()}
    assert all((began["after"][name][1] == one["optimiser"]) == bool(keeps) for name, one in left.items())
    assert {name: digest for name, (digest, _) in began["anew"].items()} == initial
    again = staged.resume(tmp_path / "run", say=lambda _: None, method=program, **players.tables(0))
    assert again.finished


# Tripwires.


def test_a_slope_that_is_no_number_stops_the_run_and_says_whose(tmp_path):
    run = create(recipe(), tmp_path / "run", **players.tables(0))
    run.pupils["guesser"].learner.clip = lambda: float("nan")
    with pytest.raises(Tripped, match=r"tripwire not-finite: policy guesser: .*the gradient's norm is nan at learning rate 0\.1"):
        run.train()
    assert not read_metrics(tmp_path / "run")


def test_an_engine_that_another_policys_weights_do_not_reach_stops_the_run(tmp_path):
    run = create(recipe(steps=6), tmp_path / "run", **players.tables(0))
    engine = run.pupils["guesser"].engine
    engine.deliver = lambda version: setattr(engine, "version", version)
    with pytest.raises(Tripped, match=r"tripwire mismatch-ratio: policy guesser"):
        run.train()


def test_a_policy_that_came_back_as_another_is_lost_state(tmp_path, monkeypatch):
    create(recipe(steps=2), tmp_path / "run", **players.tables(0)).train()
    from strop.pupil import Pupil

    was = Pupil.digest_optimiser
    monkeypatch.setattr(Pupil, "digest_optimiser", lambda self, **how: "other" if self.before else was(self, **how))
    with pytest.raises(Tripped, match="lost-state: policy guesser: after resuming, optimiser differ"):
        resume(tmp_path / "run", say=lambda _: None, method=TWO, **players.tables(0))


def test_a_warning_of_another_policy_stands_under_its_name(tmp_path):
    run = create(recipe(steps=1, tripwire="no-spread=1,empty-mask=off"), tmp_path / "run", **players.tables(0))
    run.source = replace(players.SOURCE)
    run.pupils["guesser"].policy.logits.data[:, 0, 1] += 50  # all guesses alike
    run.pupils["guesser"].engine.deliver(0)
    run.train()
    (line,) = read_metrics(tmp_path / "run")
    assert "policy guesser: for 1 steps the rollouts of every group have earned the same" in line["warnings"]["guesser/no-spread"]
    assert "no-spread" in line["policies"]["guesser"]["watch"]["holding"]


# What a method may not be.


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: TWO.but(roles={"guess": Role(policy="gueser")}),
            "train the policy 'gueser', which it does not have. Did you mean 'guesser'",
        ),
        (lambda: TWO.but(policies={"guesser": Asked()}), "train the policy 'guesser', which is asked and stays as it is"),
        (lambda: TWO.but(roles={}), "no group trains the policy 'guesser'"),
        (lambda: TWO.but(policies={"guesser": "initial"}), r"Asked\(start\) or Trained\(update, start\)"),
        (lambda: TWO.but(feed=Rollouts(ahead=1)), "tasks ahead of the learner, which several trained policies cannot learn from yet"),
        (lambda: TWO.but(feed=Swarm()), "groups of other trainers, which several trained policies cannot learn from yet"),
        (lambda: TWO.but(policies={"guesser": Trained(AdamW(epochs=2, lr=1.0))}, signals=no_ratio()), "makes 2 optimiser steps per batch"),
        (
            lambda: TWO.but(signals={"policy": TWO.signals["policy"].but(policy="guesser")}),
            r"role's to say: roles=.*Role\(policy='guesser'",
        ),
        (lambda: Trained(Still()), "a policy that never moves is Asked"),
        (lambda: Trained(start="remote:http://here:1:m"), "initial, stage:NAME, or the directory"),
        (lambda: recipe(swarm="home").resolved(), "nothing of a swarm"),
        (lambda: recipe(ahead=1).resolved(), "tasks ahead of the learner"),
    ],
)
def test_what_cannot_be_trained_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def no_ratio():
    from strop.seams.objective import policy_gradient
    from strop.seams.reduction import means
    from strop.seams.signal import Signal

    return {"policy": Signal(policy_gradient(), reduce=means("group", "rollout", "token"))}


def test_other_places_than_this_process_are_refused_before_anything_is_loaded(tmp_path):
    with pytest.raises(ValueError, match="in other processes: that is not built yet for more than one policy"):
        create(recipe(model="nowhere"), tmp_path / "ranks", learner=lambda *given: None)
    with pytest.raises(ValueError, match="in other processes"):
        create(recipe(model="nowhere", engine="vllm"), tmp_path / "vllm")
    with pytest.raises(ValueError, match=r"'wirter' was handed over, which is not trained here\. "):
        create(recipe(), tmp_path / "given", **{**players.tables(0), "policies": {"wirter": None}})
    with pytest.raises(ValueError, match="no such directory"):
        create(recipe(TWO.but(policies={"guesser": Trained(start="nowhere")}), model=str(pico.path())), tmp_path / "path")
    kept = Program("two", (Stage("a", TWO, steps(1)), Stage("b", TWO, steps(1), keeps=("reference",))))
    with pytest.raises(ValueError, match="keeps the reference, which is not built yet where several policies are trained"):
        staged.create(recipe(kept, model="nowhere"), tmp_path / "kept")


def test_it_is_printed_saved_and_told_apart():
    said = explain(TWO)
    assert "beside the actor the policy guesser, which is trained too: Trained(" in said
    assert "reward, for rollouts of role guess, which train guesser:" in said
    assert "update of the policy guesser, by its own groups" in said
    assert "AdamW(lr=0.5" in explain(TWO.but(policies={"guesser": Trained(AdamW(lr=0.5))}))
    again = load(TWO.to_json(), [players.Telling])
    assert again.fingerprint == TWO.fingerprint
    assert again.policies == {"guesser": Trained()}
    assert "policy" not in json.dumps(GRPO.but("x", roles={"write": Role()}).describe()["roles"]), "the field is left out at its default"


# Two models.


@dataclass(frozen=True)
class Turns(players.Telling):
    """One row: the actor begins, the guesser goes on, the actor ends. It trains both, each by what it wrote."""

    own_context = False

    @property
    def group_size(self):
        return self.n

    def footprint(self, prompt):
        return Footprint(prompt + 2 * self.n * self.max_tokens, self.n)

    async def __call__(self, task, environment, ctx: Ctx):
        import asyncio

        actor, guesser = ctx.policies["actor"], ctx.policies["guesser"]
        root = await actor.open(task.prompt, root=ctx.place)

        async def told(number):
            node = await actor.generate(root, max=self.max_tokens)
            node = await guesser.generate(node, max=self.max_tokens, keep=False)
            node = await actor.generate(node, max=self.max_tokens, keep=False)
            return Rollout((node.row(),), f"{ctx.place}/{number}", text=f"{number % 2}\n{'ab'[number % 2]}")

        rollouts = await asyncio.gather(*(told(number) for number in range(self.n)))
        heard = tuple(replace(r, id=f"{r.id}/heard") for r in rollouts)
        return [Group(task, tuple(rollouts), id=ctx.place), Group(task, heard, "guess", f"{ctx.place}/heard")]


TURNS = TWO.but("turns", sampler=Turns(n=4, max_tokens=6), tasks=2)


@pytest.mark.slow  # two models, killed and resumed, exported
def test_two_models_in_one_dialogue_are_killed_go_on_alike_and_are_taken_out_by_name(tmp_path, monkeypatch):
    asked = recipe(TURNS, model=str(pico.path()), lr=1e-3, checkpoint_every=1, slots=16)
    run = create(asked, tmp_path / "run", source=players.SOURCE)
    assert run.pupils["guesser"].digest_weights() == run.digest_weights(), "both begin alike"
    run.train()
    lines = plain(tmp_path / "run")
    for line in lines:
        other = line["policies"]["guesser"]
        groups = [Group.from_json(g) for g in run.record(line["step"])["groups"]]
        wrote = {"actor": 0, "guesser": 0}
        for segment in (s for g in groups if g.role == "solve" for r in g.rollouts for s in r.rows[0].segments if s.kind == "action"):
            wrote[segment.author.policy] += len(segment.tokens)
        assert line["watch"]["trained"] == wrote["actor"] > 0
        assert other["watch"]["trained"] == wrote["guesser"] > 0
        assert line["watch"]["misplaced"] == other["watch"]["misplaced"] == 0
        assert max(line["mismatch"], other["mismatch"]) < 1e-4
        assert abs(other["watch"]["canary"]["engine"][0] - other["watch"]["canary"]["learner"][0]) < 1e-4
        assert line["digest"]["weights"] != other["digest"]["weights"]
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "000003")
    (tmp_path / "run" / "groups" / "000002.json.gz").unlink()
    again = resume(tmp_path / "run", say=lambda _: None, method=TURNS, source=players.SOURCE)
    assert again.step == 2
    again.train()
    assert plain(tmp_path / "run") == lines
    main(["export", f"{tmp_path / 'run'}:guesser", str(tmp_path / "out")])
    from strop.policies.causal import load as loaded

    assert digest(loaded(str(tmp_path / "out")).parameters()) == lines[-1]["policies"]["guesser"]["digest"]["weights"]
    assert "the policy guesser" in (tmp_path / "out" / "README.md").read_text()
    main(["eval", f"{tmp_path / 'run'}:guesser", "--task", "chain", "--tasks", "1", "--samples", "1", "--max-tokens", "4"])
    main(["report", str(tmp_path / "run")])
    assert "policies.guesser.entropy" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.slow
def test_a_policy_may_have_more_tokens_than_the_actor_and_no_others(tmp_path):
    main(["tokens", "pico", str(tmp_path / "more"), "<+>", "<->"])
    method = TURNS.but(policies={"guesser": Trained(start=str(tmp_path / "more"))})
    run = create(recipe(method, model=str(pico.path()), steps=1, lr=1e-3, slots=16), tmp_path / "run", source=players.SOURCE)
    run.train()
    assert len(run.others["guesser"].renderer.tokenizer) == len(run.handle.renderer.tokenizer) + 2
    assert read_metrics(tmp_path / "run")[0]["policies"]["guesser"]["grad_norm"] > 0
    method = TURNS.but(policies={"guesser": Trained(start="pico")})
    with pytest.raises(ValueError, match="some of the actor's tokens are others or none"):
        create(recipe(method, model=str(tmp_path / "more")), tmp_path / "less", source=players.SOURCE)


@pytest.mark.slow  # three stages of two models
@pytest.mark.parametrize("lora", [0, 4])
def test_a_stage_asks_what_another_policy_became_in_an_earlier_one_and_a_later_one_goes_on_with_it(tmp_path, lora):
    asking = TURNS.but("asking", policies={"guesser": Asked("stage:first:guesser")}, roles={"guess": Role()})
    program = Program("some", (Stage("first", TURNS, steps(1)), Stage("asking", asking, steps(1)), Stage("after", TURNS, steps(1))))
    made = staged.create(recipe(program, model=str(pico.path()), lr=1e-2, slots=16, lora=lora), tmp_path / "run", source=players.SOURCE)
    before, after = {}, {}
    for run in made.runs():
        models = {name: handle.engine.model for name, handle in {"actor": run.handle, **run.others}.items()}
        before[run.directory.name] = {name: digest(dict(whole(model))) for name, model in models.items()}
        run.train()
        after[run.directory.name] = {name: digest(dict(whole(model))) for name, model in models.items()}
    assert len({*before["1-first"].values(), *after["1-first"].values()}) == 3, "both begin alike and move apart"
    assert before["2-asking"] == after["1-first"]
    assert after["2-asking"]["guesser"] == before["2-asking"]["guesser"], "asked, it stays as it is"
    assert before["3-after"] == {"actor": after["2-asking"]["actor"], "guesser": after["1-first"]["guesser"]}
    assert len({*before["3-after"].values(), *after["3-after"].values()}) == 4
    again = staged.resume(tmp_path / "run", say=lambda _: None, method=program, source=players.SOURCE)
    assert {name: digest(dict(whole(one.policy.model))) for name, one in again.now.pupils.items()} == after["3-after"]


@pytest.mark.slow  # two forecasts
def test_a_recipe_of_two_models_needs_memory_for_both():
    from strop.forecast import Lengths, forecast

    lengths = Lengths(30, 8)
    one = forecast(Recipe(method=TWO.but(policies={}, roles={}), model=str(pico.path())), lengths)
    two = forecast(Recipe(method=TWO, model=str(pico.path())), lengths)
    for held in ("moments", "keys and values"):
        assert two.parts[held] == 2 * one.parts[held]
    assert two.parts["weights of others that are trained"] == one.parts["weights"]
    assert two.peak < 2 * one.peak
