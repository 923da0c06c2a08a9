"""Tokens of one's own: what they begin as, what stays, what is refused, and methods that write them."""

import shutil

import pytest
import torch

from strop.cli import main
from strop.directory import read_metrics
from strop.methods.parallel_r1 import PARALLEL
from strop.pico import path
from strop.policies.causal import load
from strop.policies.tokens import widen
from strop.recipe import Recipe
from strop.run import create
from strop.seams.branches import TAGS, Parallel, blocks
from strop.seams.steps import Typed

TEXTS = (*TAGS.block, *TAGS.path, *TAGS.summary)


@pytest.fixture(scope="module")
def tagged(tmp_path_factory):
    out = tmp_path_factory.mktemp("models") / "tagged"
    main(["tokens", "pico", str(out), *TEXTS, "--like", "<extra>=<|pad|>", "--like", "<+>=y"])
    return out


def logits(policy, prompt="17-9+4=?"):
    with torch.no_grad():
        return policy.model(input_ids=torch.tensor([policy.renderer.prompt(prompt)])).logits[0]


def test_new_rows_begin_as_they_should_and_all_else_is_said_as_before(tagged):
    old, new = load("pico"), load(str(tagged))
    ids = [new.tokenizer.convert_tokens_to_ids(text) for text in (*TEXTS, "<extra>", "<+>")]
    assert ids == list(range(266, 274))
    table = new.model.get_input_embeddings().weight
    torch.testing.assert_close(table[266], table[:266].mean(0))
    assert torch.equal(table[272], table[old.tokenizer.convert_tokens_to_ids("<|pad|>")])
    assert torch.equal(table[273], table[ord("y")])
    torch.testing.assert_close(logits(new)[:, :266], logits(old))
    text = "a<Parallel><Path>b</Path>"
    assert new.renderer.plain(text) == (97, 266, 268, 98, 269)
    assert new.renderer.text(new.renderer.plain(text)) == text
    assert Typed(labels=("<+>", "<Path>"), mask="<extra>").tokens(new.renderer) == (273, 268)


def test_a_head_apart_and_spare_rows_are_written_too():
    policy = load("pico")
    head = policy.model.get_output_embeddings()
    policy.model.config.tie_word_embeddings = False
    apart = torch.nn.Linear(head.in_features, 300, bias=True)
    torch.nn.init.normal_(apart.bias)
    policy.model.set_output_embeddings(apart)
    rows = torch.nn.Embedding(300, head.in_features)
    policy.model.set_input_embeddings(rows)
    widen(policy, {"<a>": "", "<b>": "y"})
    assert policy.model.get_input_embeddings().weight.shape[0] == 300, "rows that were spare are taken first"
    torch.testing.assert_close(apart.weight[266], apart.weight[:266].mean(0))
    assert torch.equal(apart.bias[267], apart.bias[ord("y")])


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (["<think>"], "is a token of 'pico' already, number 262"),
        (["--like", "<a>=<nobody>"], "would begin as '<nobody>', which is no token"),
        (["--like", "<a>"], "written TEXT=TOKEN"),
        (["<a>", "<a>"], "name each new token once"),
        ([], "name a token to add"),
        ([" a"], "without white space"),
    ],
)
def test_it_is_refused_in_words(tmp_path, capsys, said, why):
    with pytest.raises(SystemExit):
        main(["tokens", "pico", str(tmp_path / "x"), *said])
    assert why in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_base_model_stays_without_a_template_and_what_is_there_is_not_written_over(tmp_path, capsys):
    shutil.copytree(path(), tmp_path / "base")
    (tmp_path / "base" / "chat_template.jinja").unlink()
    main(["tokens", str(tmp_path / "base"), str(tmp_path / "wide"), "<a>"])
    assert not (tmp_path / "wide" / "chat_template.jinja").exists()
    with pytest.raises(SystemExit):
        main(["tokens", "pico", str(tmp_path / "wide"), "<a>"])
    assert "is there already" in capsys.readouterr().err


def test_a_model_with_tags_forks_where_it_writes_one(tagged, tmp_path):
    sampler = Parallel(rows="threads", n=2, max_tokens=40, path_tokens=4)
    method = PARALLEL.but("tagged", idea=("sampler", "marks"), sampler=sampler, marks=(blocks(),))
    create(Recipe(method=method, task="chain", model=str(tagged), steps=1, tasks=2, eval_tasks=0), tmp_path / "run").train()
    (line,) = read_metrics(tmp_path / "run")
    assert line["rollouts"] == 4
    assert load(str(tmp_path / "run" / "checkpoints" / "000001")).renderer.plain("<Path>") == (268,)
