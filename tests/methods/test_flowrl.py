"""FlowRL by hand, at its fixed point, against the policy gradient it is on fresh rollouts; its head in checkpoints and refusals."""

import gzip
import json
import math
import shutil

import pytest
import torch

from strop.batch import pack
from strop.lab import tabular
from strop.lab.tabular import Table
from strop.lab.world import Language
from strop.methods.flowrl import FLOWRL, FORMS, group_balance, trajectory_balance
from strop.methods.grpo import GRPO
from strop.recipe import Recipe
from strop.records import Group, Rollout, Row, Segment, Task
from strop.run import create, resume
from strop.seams.credit import group_centered, group_normalized, kl_in_outcome, reward_itself
from strop.seams.head import Head, value
from strop.seams.index import Index
from strop.seams.objective import policy_gradient

TWO = Index.of([[[2], [1]]])
"""One group: a rollout of two decisions, one of one."""
LOGP, OLD, REFERENCE = torch.tensor([-1.0, -2.0, -0.5]), torch.tensor([-1.0, -1.0, -0.6]), torch.tensor([-1.5, -1.5, -0.25])
CREDIT, LOGZ, ONE = torch.tensor([0.1, 0.1, -0.1]), torch.tensor([0.5, 0.5]), torch.ones(3)


def loss(**constants):
    return trajectory_balance(LOGP, OLD, REFERENCE, LOGZ, CREDIT, ONE, TWO, **constants).tolist()


def test_two_rollouts_by_hand():
    # mean log(pi / reference): (0.5 - 0.5) / 2 = 0 and -0.25; beta * credit is 1.5 and -1.5; log Z 0.5 for both
    gaps = [0.5 + 0.0 - 1.5, 0.5 - 0.25 + 1.5]
    # pi / old of the whole answers: exp(-1) and exp(0.1), clipped to 0.8 and left alone
    assert loss() == pytest.approx([0.8 * gaps[0] ** 2, math.exp(0.1) * gaps[1] ** 2])
    assert loss(low=None, high=None) == pytest.approx([math.exp(-1) * gaps[0] ** 2, math.exp(0.1) * gaps[1] ** 2])
    assert loss(low=None, high=1.05) == pytest.approx([math.exp(-1) * gaps[0] ** 2, 1.05 * gaps[1] ** 2])
    assert loss(beta=5.0, length="sum") == pytest.approx([0.8 * (0.5 + 0.0 - 0.5) ** 2, math.exp(0.1) * (0.5 - 0.25 + 0.5) ** 2])


def test_the_weight_is_a_constant_and_the_head_learns_from_the_same_gap():
    logp_T, logz_R = LOGP.clone().requires_grad_(), LOGZ.clone().requires_grad_()
    trajectory_balance(logp_T, OLD, REFERENCE, logz_R, CREDIT, ONE, TWO).sum().backward()
    slopes = [0.8 * 2 * -1.0, math.exp(0.1) * 2 * 1.75]
    assert logz_R.grad.tolist() == pytest.approx(slopes)
    assert logp_T.grad.tolist() == pytest.approx([slopes[0] / 2, slopes[0] / 2, slopes[1]])


def test_the_groups_own_log_z_leaves_the_gaps_about_their_mean():
    gaps = torch.tensor([0.0 - 1.5, -0.25 + 1.5])
    found_G = group_balance(LOGP, OLD, REFERENCE, CREDIT, ONE, TWO, low=None, high=None)
    weights = torch.tensor([-1.0, 0.1]).exp()
    torch.testing.assert_close(found_G, (weights * (gaps - gaps.mean()).square()).mean()[None])


LANGUAGE = Language(3, 2)


def enumerated():
    """Every sequence once, as a rollout of one group, with a random reference and reward; and what the tilted reference gives them."""
    generator = torch.Generator().manual_seed(0)
    logits_PV = torch.randn(LANGUAGE.prefixes, LANGUAGE.vocab, generator=generator, dtype=torch.float64)
    reward_N = torch.rand(LANGUAGE.count, generator=generator, dtype=torch.float64)
    reference_N = LANGUAGE.logp_N(logits_PV)
    return reward_N, reference_N, Index.of([[[1] for _ in range(LANGUAGE.count)]])


def test_the_loss_is_zero_exactly_at_the_tilted_reference():
    reward_N, reference_N, index = enumerated()
    for beta in (1.0, 6.0):
        unnormalised_N = reference_N + beta * reward_N
        logz = unnormalised_N.logsumexp(0)
        tilted_N, one_N = unnormalised_N - logz, torch.ones_like(reward_N)
        at = trajectory_balance(tilted_N, tilted_N, reference_N, logz.expand_as(one_N), reward_N, one_N, index, beta=beta, length="sum")
        assert at.abs().max() < 1e-24
        off = trajectory_balance(reference_N, reference_N, reference_N, logz.expand_as(one_N), reward_N, one_N, index, beta=beta)
        assert off.max() > 1e-3


def test_on_fresh_rollouts_it_is_the_policy_gradient_of_reward_and_kl_with_log_z_as_baseline():
    reward_N, reference_N, index = enumerated()
    generator = torch.Generator().manual_seed(1)
    start_N = torch.randn(len(reward_N), generator=generator, dtype=torch.float64).log_softmax(0)
    one_N, beta, slopes = torch.ones_like(start_N), 6.0, []
    for form in ("balance", "gradient"):
        logp_N = start_N.clone().requires_grad_()
        if form == "balance":
            logz_N = torch.full_like(one_N, 0.7)
            lost = trajectory_balance(logp_N, start_N, reference_N, logz_N, reward_N, one_N, index, beta=beta, length="sum") / (2 * beta)
        else:
            paid_N = kl_in_outcome(reward_N, start_N, reference_N, one_N.bool(), index, coefficient=1 / beta)
            lost = policy_gradient(logp_N, paid_N - 0.7 / beta, one_N)
        lost.sum().backward()
        slopes.append(logp_N.grad)
    torch.testing.assert_close(slopes[0], slopes[1])


def test_with_one_update_the_groups_log_z_is_group_centred_kl_in_the_reward():
    reward_N, reference_N, index = enumerated()
    start_N = reference_N + 0.3 * torch.sin(torch.arange(len(reward_N), dtype=torch.float64))
    one_N, beta = torch.ones_like(start_N), 6.0
    first_N, second_N = (start_N.clone().requires_grad_() for _ in range(2))
    (group_balance(first_N, start_N, reference_N, reward_N, one_N, index, beta=beta, length="sum") / (2 * beta)).sum().backward()
    paid_N = group_centered(kl_in_outcome(reward_N, start_N, reference_N, one_N.bool(), index, coefficient=1 / beta), index)
    policy_gradient(second_N, paid_N, one_N).mean().backward()
    torch.testing.assert_close(first_N.grad, second_N.grad)


def test_a_group_that_agrees_still_pulls_towards_the_reference():
    logp_T = LOGP.clone().requires_grad_()
    credit_R = group_normalized(torch.tensor([1.0, 1.0]), TWO, eps=1e-6)
    assert credit_R.tolist() == [0.0, 0.0]
    trajectory_balance(logp_T, LOGP, REFERENCE, torch.zeros(2), TWO.spread(credit_R, "rollout", "token"), ONE, TWO).sum().backward()
    assert logp_T.grad[2] < 0, "less likely than under the reference: pushed up"


def test_against_grpo_the_idea_is_the_head_and_the_objective():
    mine, theirs = FLOWRL.describe(), GRPO.describe()
    assert {seam for seam in mine if mine[seam] != theirs[seam]} == {"signals", "heads", "reference", "credit", "update"}
    assert set(FLOWRL.units()) == {"heads", "signals.policy"}
    assert (GRPO.but("mine", tasks=16) + FLOWRL).heads == FLOWRL.heads


# The head.


def rows(*tokens: tuple[int, ...]) -> Group:
    made = (
        Row.of(Segment("prompt", t[:2], "p"), Segment("action", t[2:], f"a{i}", logp=(-1.0,) * len(t[2:]))) for i, t in enumerate(tokens)
    )
    return Group(Task("p", {}, "s"), tuple(Rollout((row,), f"r{i}") for i, row in enumerate(made)), id="g")


def tiny(heads):
    from types import SimpleNamespace

    from transformers import Qwen3Config, Qwen3ForCausalLM

    from strop.policies.causal import CausalPolicy

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        head_dim=8, max_position_embeddings=64, attn_implementation="sdpa",
    )  # fmt: skip
    return CausalPolicy(Qwen3ForCausalLM(config).eval(), SimpleNamespace(eos_token_id=0), "tiny", heads=heads)


def test_log_z_is_the_nets_answer_to_the_mean_hidden_state_of_the_prompt_alone():
    policy = tiny(FLOWRL.heads)
    batch = pack([rows((5, 6, 7, 8), (5, 6, 9), (4, 6, 7, 8, 9))], {}, dict.fromkeys(("r0", "r1", "r2"), 0.0), 0)
    logz_R = policy.evaluate(batch, frozenset({"logz_R"}))["logz_R"]
    with torch.no_grad():
        hidden = policy.model.base_model(input_ids=torch.tensor([[5, 6], [4, 6]])).last_hidden_state
        torch.testing.assert_close(logz_R[[0, 2]], policy.heads["logz"](hidden.mean(1))[:, 0])
    torch.testing.assert_close(logz_R[0], logz_R[1], msg="the answers differ, the prompt does not")
    logz_R[0].backward()
    embedding = policy.model.get_input_embeddings().weight.grad
    assert embedding[[5, 6]].abs().sum() > 0, "the gradient flows on into the model"
    assert not embedding[7:10].any()


def test_heads_are_of_the_size_they_declare():
    layers = [tuple(p.shape) for p in Head("logz", per="prompt", net="mlp").built(16).parameters()]
    assert layers == [(16, 16), (16,), (16,), (16,), (16, 16), (16,), (16,), (16,), (1, 16), (1,)]
    assert not any(p.any() for p in value.built(16).parameters())


def test_a_rollout_of_several_rows_is_refused_with_the_way_out():
    prompt, other = Segment("prompt", (1, 2), "p"), Segment("prompt", (3,), "q")
    two = (Row.of(prompt, Segment("action", (4,), "a", logp=(-1.0,))), Row.of(other, Segment("action", (5,), "b", logp=(-1.0,))))
    batch = pack([Group(Task("p", {}, "s"), (Rollout(two, "twice"),), id="g")], {}, {"twice": 0.0}, 0)
    with pytest.raises(ValueError, match=r"rollout 'twice' has several rows .* Use a sampler that writes a rollout in one row"):
        tiny(FLOWRL.heads).evaluate(batch, frozenset({"logz_R"}))


SOURCE = Table(tasks=4)
RECIPE = Recipe(method=FLOWRL, model="table", steps=20, tasks=4, group=8, lr=0.05, eval_tasks=0, checkpoint_every=3)


def test_on_a_table_the_head_is_a_number_per_task_and_the_pass_rate_rises(tmp_path):
    run = tabular.create(RECIPE, tmp_path / "run", SOURCE)
    before = sum(run.policy.rates(SOURCE)) / 4
    run.train()
    assert sum(run.policy.rates(SOURCE)) / 4 > before + 0.15
    numbers = run.policy.heads["logz"].weight
    assert numbers.shape == (4, 1)
    assert len(numbers.unique()) == 4


@pytest.mark.parametrize("step", [0.0, 10.0])
def test_a_head_moves_by_its_own_multiple_of_the_learning_rate(tmp_path, step):
    method = FLOWRL.but(heads=(Head("logz", per="prompt", step=step),), update=GRPO.update, credit=(reward_itself(),))
    run = tabular.create(RECIPE.but(method=method, steps=1), tmp_path / "run", SOURCE)
    run.train()
    moved = run.policy.heads["logz"].weight.abs().max().item()
    assert moved == pytest.approx(0.05 * step, rel=0.02), "Adam's first step is as long as its learning rate"


def small(**changes):
    base = {"method": "flowrl", "task": "chain", "model": "pico", "steps": 3, "tasks": 4, "group": 2, "max_tokens": 8}
    return Recipe(**{**base, "eval_tasks": 0, "checkpoint_every": 2, "slots": 16, **changes})


@pytest.mark.slow  # three runs
def test_the_head_is_in_checkpoints_resumes_bit_for_bit_and_stays_out_of_what_is_exported(tmp_path):
    from safetensors.torch import load_file

    whole = create(small(), tmp_path / "whole")
    before = {name: p.clone() for name, p in whole.policy.heads.state_dict().items()}
    whole.train()
    assert all((p != before[name]).any() for name, p in whole.policy.heads.state_dict().items()), "every part of the head learned"
    last = tmp_path / "whole" / "checkpoints" / "000003"
    assert set(load_file(last / "heads.safetensors")) == set(before)
    assert not [name for name in load_file(last / "model.safetensors") if "logz" in name]
    for steps in (2, 0):  # from a checkpoint, and from none: then the head is made again from the seed
        cut = tmp_path / f"cut-{steps}"
        shutil.copytree(tmp_path / "whole", cut)
        for gone in (path for path in (cut / "checkpoints").iterdir() if int(path.name) > steps):
            shutil.rmtree(gone)
        again = resume(cut, say=lambda _: None)
        assert again.step == steps
        again.train()
        assert (again.digest_weights(), again.digest_optimiser()) == (whole.digest_weights(), whole.digest_optimiser())


def test_what_a_step_says_of_its_head_and_of_rollouts_that_moved_far(tmp_path):
    run = create(small(steps=1, lr=3e-3), tmp_path / "run")
    lines: list[dict] = []
    run.train(show=lines.append)
    assert lines[0]["heads"]["logz"] != 0
    assert 0 <= lines[0]["far"] <= 1
    assert "logz" in json.dumps(json.loads((tmp_path / "run" / "recipe.json").read_text())["method"])
    assert "logz" not in gzip.decompress(run.commit_path(0).read_bytes()).decode()


def test_the_three_forms_differ_in_the_weight_alone():
    from strop.identity import explain

    lines = {form: [line.strip() for line in explain(one).splitlines()] for form, one in FORMS.items()}
    weights = {form: [line for line in said if line.startswith("w_R =")] for form, said in lines.items()}
    ratio = "exp(sum(logp_T - old_logp_T, rollout))"
    assert weights == {
        "paper": [f"w_R = detach(max(min({ratio}, 1.2), 0.8))"],
        "code": [f"w_R = detach({ratio})"],
        "capped": [f"w_R = detach(min({ratio}, 10))"],
    }
    for form in ("code", "capped"):
        theirs, ours = FORMS[form].describe(), FLOWRL.describe()
        assert [seam for seam in ours if theirs[seam] != ours[seam]] == ["signals"]
