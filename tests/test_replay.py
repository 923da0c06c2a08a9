"""The same recipe on recorded groups gives the same bits; another method learns from the identical rollouts, or is refused."""

import gzip
import json
import shutil
from dataclasses import replace

import pytest
import torch
from presets import ESTIMATORS
from recorded import BASE, lines, record

from strop import pico
from strop.cli import main
from strop.directory import RunError
from strop.methods import method as named
from strop.methods.dr_grpo import DR_GRPO
from strop.methods.grpo import GRPO
from strop.methods.intuitor import INTUITOR
from strop.replay import fit, plan
from strop.run import at_step, create, resume
from strop.seams.correction import none, truncated
from strop.seams.feed import WithDemos
from strop.seams.mark import between
from strop.seams.part import part


@part(gives="reward_R")
def politeness(polite_R):
    """A channel that nobody recorded."""
    return polite_R


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    place = tmp_path_factory.mktemp("origin") / "run"
    record(place)
    return place


def replayed(origin, place, method=None):
    made = plan(origin, method)
    run = create(made.recipe, place, recording=made.recording)
    return run, made.notes


def test_the_same_recipe_gives_the_same_lines_and_commits_bit_for_bit(origin, tmp_path):
    run, notes = replayed(origin, tmp_path / "again")
    run.train()
    assert not notes
    assert lines(tmp_path / "again") == lines(origin)
    for path in (origin / "groups").iterdir():
        assert (tmp_path / "again" / "groups" / path.name).read_bytes() == path.read_bytes()


def test_a_replay_asks_the_engine_for_nothing(origin, tmp_path):
    run, _ = replayed(origin, tmp_path / "again", "dr-grpo")
    run.train()
    assert not any(run.engine.counters.to_json().values())
    assert run.bill.total["decoded"] > 0, "what drawing the rollouts cost stays on the bill"


def test_every_line_has_a_digest_of_each_stage(origin):
    for line in lines(origin):
        assert set(line["digest"]) == {"groups", "credit", "weights", "optimiser"}
        assert all(line["digest"].values())
    assert len({line["digest"]["credit"] for line in lines(origin)}) == len(lines(origin))


def test_another_method_learns_from_the_identical_rollouts_from_the_same_start(origin, tmp_path):
    run, notes = replayed(origin, tmp_path / "dr", "dr-grpo")
    start = {name: p.detach().clone() for name, p in run.policy.parameters().items()}
    run.train()
    for step in range(3):
        ours, theirs = (json.loads(gzip.decompress((d / "groups" / f"{step:06d}.json.gz").read_bytes())) for d in (tmp_path / "dr", origin))
        assert ours["groups"] == theirs["groups"]
        assert ours["scores"] == theirs["scores"]
    assert any("no correction" in note and "truncated" in note for note in notes)
    fresh = at_step(origin, 0, lambda _: None)
    assert all(torch.equal(start[name], p) for name, p in fresh.policy.parameters().items())
    assert lines(tmp_path / "dr")[-1]["digest"]["weights"] != lines(origin)[-1]["digest"]["weights"]


def test_the_learner_is_the_sampler_in_the_first_step_and_another_one_afterwards(origin, tmp_path):
    """Its own log-probabilities are measured: the importance weights are 1 at first, and move away once the weights do."""
    run, _ = replayed(origin, tmp_path / "dr", "dr-grpo")
    run.train()
    first, *later = [line["sampler"] for line in lines(tmp_path / "dr")]
    assert first["kl"] < 1e-8
    assert first["effective"] == pytest.approx(1, abs=1e-6)
    assert all(line["kl"] > 1e-6 and line["effective"] < 1 for line in later)
    assert all(line["mismatch"] < 1e-4 for line in lines(tmp_path / "dr")), "old_logp is the learner's own, not the recorded one"


def test_the_correction_is_labelled_and_changes_the_fingerprint():
    corrected = DR_GRPO.off_policy()
    assert corrected.name == "dr-grpo-truncated"
    assert corrected.correction == truncated(cap=2.0)
    assert corrected.fingerprint != DR_GRPO.fingerprint
    assert corrected.off_policy() is corrected
    assert DR_GRPO.correction == none


def learns_from_rollouts_like_grpos(method):
    """With no grader, tree or feed of its own, and a reward that reads the verdicts of any source."""
    own = method.graders or type(method.sampler) is not type(GRPO.sampler) or method.feed != GRPO.feed
    return not own and set(method.reward.reads) <= {"outcome_R", "lenient_R"}


@pytest.mark.slow  # two steps of every method
@pytest.mark.parametrize("method", sorted(name for name in ESTIMATORS if learns_from_rollouts_like_grpos(named(name))))
def test_every_method_that_learns_from_rollouts_like_grpos_can_learn_from_its_record(method, origin, tmp_path):
    run, notes = replayed(origin, tmp_path / "run", method)
    run.advance()
    run.advance()  # a warm-up from zero moves nothing in the first step
    assert run.step == 2
    assert run.digest_weights() != at_step(origin, 0, lambda _: None).digest_weights()
    assert any("sample again" in note for note in notes) == (method == "dapo"), "what the record cannot give is said"


def test_a_replay_that_was_stopped_goes_on_with_the_rest_of_the_record(origin, tmp_path):
    whole, _ = replayed(origin, tmp_path / "whole", "rloo")
    whole.train()
    part, _ = replayed(origin, tmp_path / "part", "rloo")

    class Stopped(Exception):
        pass

    def stop(line):
        if line["step"] == 0:
            raise Stopped

    with pytest.raises(Stopped):
        part.train(show=stop)
    resume(tmp_path / "part", say=lambda _: None).train()
    assert lines(tmp_path / "part") == lines(tmp_path / "whole")


def test_a_replay_of_another_method_can_itself_be_replayed(origin, tmp_path):
    run, _ = replayed(origin, tmp_path / "dr", "dr-grpo")
    run.train()
    again, _ = replayed(tmp_path / "dr", tmp_path / "again")
    again.train()
    assert lines(tmp_path / "again") == lines(tmp_path / "dr")


def test_an_unfinished_record_is_replayed_as_far_as_it_goes(origin, tmp_path):
    shutil.copytree(origin, tmp_path / "cut")
    (tmp_path / "cut" / "groups" / "000002.json.gz").unlink()
    run, notes = replayed(tmp_path / "cut", tmp_path / "again")
    run.train()
    assert run.step == 2
    assert lines(tmp_path / "again") == lines(origin)[:2]
    assert any("ends after 2 of 3 steps" in note for note in notes)


@pytest.mark.parametrize(
    ("method", "wanted"),
    [
        (GRPO.but("wide", sampler=replace(GRPO.sampler, stop=("\n",))), "has a sampler of its own"),
        (GRPO.but("shown", feed=WithDemos()), "has a feed of its own"),
        (GRPO.but("polite", reward=politeness), "recorded only the channels lenient, outcome"),
        (INTUITOR, "recorded only the channels lenient, outcome"),
    ],
    ids=lambda v: v.name if hasattr(v, "name") else "",
)
def test_a_method_that_needs_what_the_record_lacks_is_refused_in_words(method, wanted, origin):
    # numbers of the recipe aside, as `plan` settles them
    with pytest.raises((RunError, ValueError), match=wanted):
        fit(GRPO, method, origin)


@part(gives="reward_R")
def right_and_brief(outcome_R, length_R, answer_length_R):
    """The verdict less what the answer takes of the reply."""
    return outcome_R - answer_length_R / length_R.clamp_min(1)


def test_marks_are_read_off_the_recorded_replies_in_place_of_what_was_marked_there(origin, tmp_path):
    whole = GRPO.but("whole", marks=(between(opens="<answer>"),), reward=right_and_brief)
    run, _ = replayed(origin, tmp_path / "whole", whole)
    run.train()
    inside = [line["answer_length"] for line in lines(tmp_path / "whole")]
    assert max(inside) > 0
    blind = GRPO.but("blind", marks=(between(opens="<nothing>"),), reward=right_and_brief)
    made = plan(tmp_path / "whole", blind, own=whole)
    again = create(made.recipe, tmp_path / "none", recording=made.recording)
    again.train()
    assert [line["answer_length"] for line in lines(tmp_path / "none")] == [0.0] * len(inside)


def test_another_model_in_the_place_of_the_recorded_one_is_refused(origin, tmp_path):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(pico.path())
    with torch.no_grad():
        next(model.parameters()).mul_(2)
    shutil.copytree(pico.path(), tmp_path / "other")
    model.save_pretrained(tmp_path / "other")
    made = plan(origin, "dr-grpo")
    run = create(made.recipe.but(model=str(tmp_path / "other")), tmp_path / "run", recording=made.recording)
    with pytest.raises(RunError, match="not the model that the run started from"):
        run.train()


def test_a_record_that_went_away_is_named(origin, tmp_path):
    shutil.copytree(origin, tmp_path / "gone")
    run, _ = replayed(tmp_path / "gone", tmp_path / "again")
    shutil.rmtree(tmp_path / "gone")
    with pytest.raises(RunError, match="no longer holds step 0"):
        run.train()


def test_weights_are_rebuilt_from_a_checkpoint_or_the_start_and_nothing_on_disk_changes(origin):
    before = {path: path.read_bytes() for path in origin.rglob("*") if path.is_file()}
    said: list[str] = []
    for step in range(3):
        run = at_step(origin, step, said.append)
        assert run.step == step
        if step:
            assert run.digest_weights() == lines(origin)[step - 1]["digest"]["weights"]
    assert "the starting weights, and 1 updates" in said[1]
    assert "checkpoint 2, and 0 updates" in said[2]
    assert {path: path.read_bytes() for path in origin.rglob("*") if path.is_file()} == before


def test_the_command_shows_equality_digest_by_digest(origin, tmp_path, capsys):
    main(["replay", str(origin), "--out", str(tmp_path / "again"), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["equal"] is True
    assert found["steps"] == BASE["steps"]
    assert found["digest"] == lines(origin)[-1]["digest"]


def test_the_command_trains_another_method_with_its_report(origin, tmp_path, capsys):
    main(["replay", str(origin), "--method", "dr-grpo", "--out", str(tmp_path / "dr"), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["method"] == "dr-grpo-truncated"
    assert (tmp_path / "dr" / "report.html").exists()


def test_a_replay_that_differs_names_the_first_line_and_stage(origin, tmp_path, capsys):
    """One recorded log-probability changed after the fact: the record is no longer what was learned from."""
    shutil.copytree(origin, tmp_path / "changed")
    path = tmp_path / "changed" / "groups" / "000001.json.gz"
    data = json.loads(gzip.decompress(path.read_bytes()))
    data["groups"][0]["rollouts"][0]["rows"][0]["segments"][1]["logp"][0] -= 0.01
    path.write_bytes(gzip.compress(json.dumps(data).encode()))
    main(["replay", str(tmp_path / "changed"), "--out", str(tmp_path / "again"), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["equal"], found["step"], found["stage"]) == (False, 1, "groups")


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        (["replay", "nowhere"], "holds no run"),
        (["replay", "ORIGIN", "--method", "gropo"], "Did you mean 'grpo'"),
        (["replay", "ORIGIN", "--method", "mine.py"], "no file"),
    ],
)
def test_a_mistake_is_one_message(argv, wanted, origin, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main([str(origin) if a == "ORIGIN" else a for a in argv])
    assert stop.value.code == 2
    assert wanted in capsys.readouterr().err
    assert not list(tmp_path.rglob("recipe.json"))
