"""Trainers of one process in one swarm: what a step learns from a foreign group, and what it counts."""

import asyncio
import json
import shutil

import pytest
import torch

from strop import train
from strop.directory import read_metrics
from strop.identity import explain
from strop.methods.grpo import GRPO
from strop.methods.swarm import SWARM
from strop.recipe import Recipe
from strop.records import Group, Scores
from strop.run import create, resume
from strop.seams.correction import truncated
from strop.seams.exchange import FOREIGN
from strop.seams.feed import Rollouts
from strop.seams.signal import actions
from strop.seams.swarm import Swarm
from strop.swarm.exchange import Exchange
from strop.swarm.wires import Room

SMALL = {"task": "chain", "model": "pico", "group": 8, "share": "2/2", "max_tokens": 48, "eval_tasks": 0, "slots": 64}


def trainer(directory, room, name, **changes):
    recipe = Recipe(**{"method": "swarm", "steps": 3, "checkpoint_every": 10, **SMALL, **changes})
    return create(recipe, directory / name, exchange=Exchange("room", room.enter(name), rate=None) if room else None)


def rounds(*runs, n):
    return [[run.advance() for run in runs] for _ in range(n)]


def foreign(record):
    return [g for g in record["groups"] if g["role"] == FOREIGN]


def test_a_swarm_step_is_advantage_weighted_likelihood_on_own_and_foreign_text_alike(tmp_path):
    """The paper's update, as a loop: with one update per batch every ratio is 1, whoever wrote the text."""
    room = Room()
    me, other = (trainer(tmp_path, room, name, seed=seed) for name, seed in (("me", 1), ("other", 2)))
    rounds(other, n=2)
    model = {name: p.detach().clone() for name, p in me.policy.model.named_parameters()}
    line = asyncio.run(train.step(me))
    record = me.record(0)
    assert len(foreign(record)) == 2

    texts, total = [], 0
    for group in record["groups"]:
        earned = torch.tensor([record["scores"]["values"][r["id"]]["outcome"] for r in group["rollouts"]], dtype=torch.float64)
        advantage = (earned - earned.mean()) / (earned - earned.mean()).square().mean().sqrt().clamp_min(1e-4)
        for rollout, a in zip(group["rollouts"], advantage.tolist(), strict=True):
            prompt, written = (segment["tokens"] for segment in rollout["rows"][0]["segments"])
            texts.append((prompt, written, a))
            total += len(written)
    assert line["loss"]["policy"] == pytest.approx(-sum(a * len(written) for _, written, a in texts) / total, abs=1e-6)

    policy = me.policy.model
    after = {name: p.detach().clone() for name, p in policy.named_parameters()}
    with torch.no_grad():
        for name, p in policy.named_parameters():
            p.copy_(model[name])
    plain = torch.optim.AdamW(policy.parameters(), lr=me.method.update.lr, weight_decay=0.0)
    for prompt, written, a in texts:
        logp = policy(torch.tensor([[*prompt, *written]])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        (-a / total * logp.gather(-1, torch.tensor(written)[:, None]).sum()).backward()
    torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
    plain.step()
    for name, p in policy.named_parameters():
        torch.testing.assert_close(p.detach(), after[name], atol=2e-5, rtol=0)
    moved = max((after[name] - model[name]).abs().max().item() for name in model)
    assert moved > 1e-4, "the step moved the weights, so the comparison says something"


def test_what_others_earn_in_a_swarm_enters_no_curve_ledger_or_curriculum_of_ours(tmp_path):
    room = Room()
    me, other = (trainer(tmp_path, room, name, seed=seed) for name, seed in (("me", 1), ("other", 2)))
    rounds(other, n=2)
    alone = trainer(tmp_path, None, "alone", seed=1)
    line, without = me.advance(), alone.advance()
    assert (line["swarm"]["own"], line["swarm"]["foreign"]) == (2, 2)
    for name in ("reward", "outcome", "lenient", "spread", "length", "cut", "rollouts"):
        assert line[name] == without[name]
    assert me.ledger == alone.ledger
    assert me.state == alone.state
    assert line["digest"]["weights"] != without["digest"]["weights"]
    assert {k: v for k, v in line["bill"].items() if k not in ("measured", "trained")} == {
        k: v for k, v in without["bill"].items() if k != "trained"
    }
    assert line["bill"]["measured"] > 0, "nobody here drew the foreign text, so a pass measures it"
    assert "swarm" not in without


@pytest.mark.slow  # two runs of a swarm, and the replay
def test_a_swarm_run_is_computed_again_from_its_commits_without_any_swarm(tmp_path):
    room = Room()
    me, other = (trainer(tmp_path, room, name, seed=seed) for name, seed in (("me", 1), ("other", 2)))
    rounds(other, n=1)
    me.train(show=lambda line: other.advance())
    lines = [{k: v for k, v in line.items() if k != "t"} for line in read_metrics(me.directory)]
    assert sum(line["swarm"]["foreign"] for line in lines) >= 4
    shutil.rmtree(me.directory / "checkpoints")
    (me.directory / "checkpoints").mkdir()
    (me.directory / "metrics.jsonl").unlink()
    again = resume(me.directory, say=lambda _: None)
    again.train()
    assert [{k: v for k, v in line.items() if k != "t"} for line in read_metrics(me.directory)] == lines
    assert again.digest_weights() == me.digest_weights()
    assert again.swarm == me.swarm


def test_a_trainer_never_sends_a_swarm_what_was_sent_before_since_others_would_call_it_replayed(tmp_path):
    me = trainer(tmp_path, Room(), "me", seed=1)
    me.advance()
    record = me.record(0)
    groups, scores = [Group.from_json(g) for g in record["groups"]], Scores(record["scores"]["values"])
    assert me.swarm["published"] == len(groups)
    me.exchange.publish(groups, scores, 1, me.source, me.policy.renderer)
    tally = me.exchange.tally()
    assert (tally["published"], tally["unshared"]) == (len(groups), len(groups))


def test_a_swarm_run_says_at_its_end_what_became_of_others_groups():
    from strop.swarm import said

    book = {"drawn": 7, "rejected": {"wrong key": 2, "garbage": 1}, "quota": 20}
    line = {"swarm": {"name": "home", "published": 12, "peers": {"a": {"drawn": 3, "rejected": {}, "quota": 60}, "b": book}}}
    assert said(line) == [
        "swarm home: shared 12 groups, heard of 2 peers, trained on 10 of their groups",
        "  b: rejected garbage 1, wrong key 2; 20 places left",
    ]
    assert said({}) == []


@pytest.mark.slow  # two runs of a swarm
def test_trainers_of_one_room_are_deterministic(tmp_path):
    def play(where):
        room = Room()
        runs = [trainer(tmp_path / where, room, name, seed=seed) for seed, name in enumerate("ab")]
        return [line for step in rounds(*runs, n=2) for line in step]

    assert play("first") == play("second")


def test_a_swarm_of_one_trains_on_its_own_groups_and_says_so(tmp_path):
    from strop.swarm import joined

    alone, said = trainer(tmp_path, None, "alone"), []
    with joined(alone, said.append):
        line = alone.advance()
    assert line["rollouts"] == 16
    assert any("nobody to share with" in text and "--swarm" in text for text in said)


def test_a_swarm_method_says_that_nobody_measured_foreign_text():
    said = explain(SWARM)
    assert "old_logp_T is sampled_logp_T" in said
    assert "except where the batch holds teacher text: then one pass of the learner measures it" in said
    assert "foreign groups are text that nobody here drew" in said
    assert "foreign groups" not in explain(GRPO)


def test_a_swarm_whose_foreign_text_no_signal_trains_is_refused():
    with pytest.raises(ValueError, match=r"no signal trains any.*on=actions \| teacher"):
        SWARM.but(signals={"policy": SWARM.signals["policy"].but(on=actions)})
    assert SWARM.but(feed=Swarm(foreign=0), signals={"policy": SWARM.signals["policy"].but(on=actions)}).tasks == 4


def test_a_correction_leaves_the_foreign_text_of_a_swarm_as_it_is(tmp_path):
    room = Room()
    method = SWARM.but("swarm-truncated", correction=truncated())
    me = trainer(tmp_path, room, "me", method=method, seed=1)
    other = trainer(tmp_path, room, "other", seed=2)
    rounds(other, n=2)
    seen, watched = {}, me.watch.batch

    def look(groups, fates, batch, fraction):
        seen.update(batch=batch)
        watched(groups, fates, batch, fraction)

    me.watch.batch = look
    asyncio.run(train.step(me))
    batch = seen["batch"]
    theirs_T = batch.of_kinds(("teacher",))
    assert theirs_T.any()
    assert (batch.tracks["weight_T"][theirs_T] == 1).all()
    assert batch.tracks["sampled_logp_T"][theirs_T].isnan().all()
    assert batch.tracks["age_T"][theirs_T].isnan().all()
    assert batch.tracks["old_logp_T"][theirs_T].isfinite().all()


def test_a_share_on_the_command_line_is_own_and_foreign_groups_of_a_swarm():
    made = Recipe(method="swarm", share="6/2").resolved()
    assert (made.tasks, made.feed) == (6, Swarm(foreign=2))
    assert Recipe(method="swarm", share="8/0").resolved().feed.foreign == 0
    with pytest.raises(ValueError, match="as in 4/4"):
        Recipe(method="swarm", share="4")
    with pytest.raises(ValueError, match="give one of them"):
        Recipe(method="swarm", share="4/4", tasks=3)
    with pytest.raises(ValueError, match="--method swarm"):
        Recipe(method="grpo", swarm="home").resolved()
    addressed = Recipe(method="swarm", swarm="home", peer="tcp/10.0.0.2:7447", listen="tcp/0.0.0.0:7447")
    assert addressed.fingerprint == Recipe(method="swarm", swarm="home").fingerprint
    assert addressed.fingerprint != Recipe(method="swarm").fingerprint


def test_a_stranger_with_another_vocabulary_learns_from_a_swarm(tmp_path):
    """A random model of other tokens: it can give nothing, and is moved by what pico wrote, in its own tokens."""
    stranger_model(tmp_path / "stranger")
    room = Room()
    other = trainer(tmp_path, room, "other", seed=2)
    me = trainer(tmp_path, room, "me", seed=1, model=str(tmp_path / "stranger"), max_tokens=200)
    rounds(other, n=2)
    line = me.advance()
    assert line["swarm"]["foreign"] == 2
    assert line["grad_norm"] > 0
    assert line["reward"] == 0
    (group, _) = foreign(me.record(0))
    theirs = {g["task"]["id"]: g for step in range(2) for g in other.record(step)["groups"]}[group["task"]["id"]]
    for mine, drawn in zip(group["rollouts"], theirs["rollouts"], strict=True):
        tokens, original = (r["rows"][0]["segments"][1]["tokens"] for r in (mine, drawn))
        assert me.policy.renderer.text(tokens) == other.policy.renderer.text(original) == mine["text"]
        assert tokens != original
        assert (tokens[-1] in me.policy.eos) == (original[-1] in other.policy.eos)


def stranger_model(directory):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={"<end>": 0, "<user>": 1} | {c: 2 + i for i, c in enumerate(letters)}, merges=[]))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<end>", pad_token="<end>", additional_special_tokens=["<user>"])
    tokenizer.chat_template = "{% for m in messages %}<user>{{ m['content'] }}<end>{% endfor %}"
    tokenizer.save_pretrained(directory)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 64}
    config = Qwen3Config(vocab_size=len(tokenizer), head_dim=16, max_position_embeddings=256, eos_token_id=0, **sizes)
    Qwen3ForCausalLM(config).save_pretrained(directory)


def test_a_swarm_sum_and_its_own_share_filtered_alike_are_methods():
    from strop.seams.gate import DropFlat

    alike = SWARM.but("swarm-alike", gate=(DropFlat(),))
    assert alike.feed == SWARM.feed
    assert SWARM.feed.fresh
    assert isinstance(SWARM.feed.own, Rollouts)
    assert json.loads(json.dumps(alike.to_json()))["name"] == "swarm-alike"
