"""The road of a user with a model and a file of questions: docs/real-models.md, on a stand-in with Qwen3-0.6B's ratios."""

import asyncio
import json
import math
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from engines import vllms

from strop import engines
from strop.cli import main
from strop.directory import read_metrics
from strop.policies.causal import load
from strop.policies.chat import Chat, ChatRenderer, ModelError, eos_ids, variables
from strop.recipe import Recipe
from strop.records import Group
from strop.tasks import source
from strop.tasks.worker import close_all

ROOT = Path(__file__).parent.parent
STANDIN = runpy.run_path(str(ROOT / "scripts" / "make_standin.py"))
STROP = [sys.executable, "-m", "strop"]
SYSTEM = "Think step by step."
FIELDS = ["--prompt-field", "question", "--answer-field", "answer"]

pytest.importorskip("math_verify")


@pytest.fixture(scope="module", autouse=True)
def no_worker_is_left():
    yield
    close_all()


@pytest.fixture(scope="session")
def standin(tmp_path_factory):
    """Directory of model/, train.jsonl and test.jsonl."""
    place = tmp_path_factory.mktemp("standin")
    STANDIN["write"](place)
    return place


def flags(standin, **changes):
    """A run of seconds whose reward varies although the model knows nothing: its own certainty; math-verify grades beside it."""
    values = {"model": standin / "model", "data": standin / "train.jsonl", "grader": "math", "method": "intuitor"}
    values |= {"system": SYSTEM, "template": "enable_thinking=false", "max-tokens": 12, "tasks": 2, "group": 3, "steps": 2, "lr": 1e-3}
    values |= {"eval-tasks": 0, "slots": 16, **changes}
    return ["train", *FIELDS, *(text for name, value in values.items() if value is not None for text in (f"--{name}", str(value)))]


def lines(run):
    return [{name: value for name, value in line.items() if name != "t"} for line in read_metrics(run)]


@pytest.fixture
def refused(refused):
    """As anywhere; and what it says is one line, which this gives."""

    def run(*argv):
        (line,) = (line for line in refused(*argv).splitlines() if line.startswith("strop: "))
        return line

    return run


# ------------------------------------------------------------------------------------------ end to end

ALONE = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
said = []
for row, at in json.load(sys.stdin):
    with torch.no_grad():
        logp = model(input_ids=torch.tensor([row])).logits[0].log_softmax(-1)
    said.append([logp[i - 1, row[i]].item() for i in at])
chat = [{"role": "system", "content": sys.argv[2]}, {"role": "user", "content": "{question}"}]
prompt = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True, enable_thinking=False)
assert not any(name.split(".")[0] == "strop" for name in sys.modules)
print(json.dumps({"logp": said, "prompt": prompt, "ends": model.generation_config.eos_token_id}))
"""


def strop(*argv):
    done = subprocess.run([*STROP, *map(str, argv)], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def killed(argv, run):
    """Start it as a process of its own and kill -9 it between the commit of its third step and that step's line."""
    process = subprocess.Popen([*STROP, *map(str, argv)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 200
        while not (run / "groups" / "000002.json.gz").exists():
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.001)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL
    assert len(read_metrics(run)) < 6, "killed too late to prove anything"


@pytest.mark.full  # a killed run, its twin and its export
def test_a_run_on_a_file_is_killed_and_resumed_to_equal_metrics_and_its_export_is_the_model_by_transformers_alone(standin, tmp_path):
    whole, torn, out = tmp_path / "whole", tmp_path / "torn", tmp_path / "out"
    more = {"steps": 6, "checkpoint-every": 2}
    said = strop(*flags(standin, out=whole, **more)).stderr
    assert "200 rows, 179 to train on, 21 held out" in said
    killed(flags(standin, out=torn, **more), torn)
    strop("train", "--resume", torn)
    assert lines(torn) == lines(whole)
    assert all(line["grad_norm"] > 0 for line in lines(torn))
    assert len({line["digest"]["weights"] for line in lines(torn)}) == 6, "the weights moved at every step"

    strop("export", torn, out)
    assert {p.name for p in out.iterdir()} >= {"config.json", "generation_config.json", "chat_template.jinja", "README.md", "strop.json"}
    assert not list(out.glob("optimiser*"))
    groups, trained = last_groups(torn), load(str(torn / "checkpoints" / "000006"))
    rows = [(list(row.tokens), decisions(row)) for group in groups for rollout in group.rollouts for row in rollout.rows]
    alone = subprocess.run(
        [sys.executable, "-c", ALONE, str(out), SYSTEM], input=json.dumps(rows), capture_output=True, text=True, timeout=120, check=True
    )
    alone = json.loads(alone.stdout)
    ours, before = logp_of(trained, groups), logp_of(load(str(standin / "model")), groups)
    theirs = [value for row in alone["logp"] for value in row]
    assert max(abs(a - b) for a, b in zip(theirs, ours, strict=True)) < 1e-4
    assert max(abs(a - b) for a, b in zip(theirs, before, strict=True)) > 1e-2, "what was exported is not the base"
    assert len(alone["ends"]) == 2, "both ids that end a reply are kept"

    card = (out / "README.md").read_text()
    about = json.loads((torn / "recipe.json").read_text())
    (digest,) = about["data"]["files"].values()
    for what in (digest, about["fingerprint"]["method"], about["fingerprint"]["recipe"], "intuitor", 'template = "enable_thinking=false"'):
        assert what in card
    assert alone["prompt"].rstrip() in card, "the card shows prompts as the template writes them"
    assert str(standin) not in card + (out / "strop.json").read_text(), "places on this machine are nobody's business"


@pytest.mark.full  # five processes
def test_no_librarys_warning_or_bar_reaches_who_runs_a_plain_command(standin, tmp_path):
    run = tmp_path / "run"
    task = ["--task", "chain:steps=1", "--tasks", "2", "--samples", "1", "--max-tokens", "4"]
    for argv in (
        flags(standin, out=run, steps=1, **{"eval-tasks": 2, "eval-samples": 1, "lora": 2}),
        ["eval", run, "--tasks", "2", "--samples", "1"],
        ["export", run, tmp_path / "out"],
        ["eval", tmp_path / "out", *task],
        ["plan", "--model", standin / "model"],
    ):
        said = strop(*argv).stderr
        for word in ("Warning", "warn(", "%|", "it/s", "deprecated"):
            assert word not in said, (argv[0], said)


def last_groups(run):
    import gzip

    record = json.loads(gzip.decompress(sorted((run / "groups").iterdir())[-1].read_bytes()))
    return [Group.from_json(group) for group in record["groups"]]


def decisions(row):
    places, start = [], 0
    for segment in row.segments:
        places += range(start, start + len(segment.tokens)) if segment.kind == "action" else []
        start += len(segment.tokens)
    return places


def logp_of(policy, groups):
    import torch

    from strop.batch import pack

    with torch.no_grad():
        return policy.evaluate(pack(groups, {}, {r.id: 0.0 for g in groups for r in g.rollouts}, 0))["logp_T"].tolist()


def test_a_run_that_does_not_say_its_whole_method_is_not_exported(standin, tmp_path, refused, capsys):
    main(flags(standin, out=tmp_path / "run", steps=1))
    capsys.readouterr()
    about = json.loads((tmp_path / "run" / "recipe.json").read_text())
    del about["method"]
    (tmp_path / "run" / "recipe.json").write_text(json.dumps(about))
    assert "before runs kept their whole method" in refused("export", tmp_path / "run", tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


def test_adapters_are_merged_into_the_export_and_stand_beside_it_for_peft(standin, tmp_path, capsys):
    peft = pytest.importorskip("peft")
    import torch
    from transformers import AutoModelForCausalLM

    main(flags(standin, out=tmp_path / "run", lora=4, lr=0.01))
    main(["export", str(tmp_path / "run"), str(tmp_path / "out")])
    base, merged = (AutoModelForCausalLM.from_pretrained(place).eval() for place in (standin / "model", tmp_path / "out"))
    ids = torch.arange(20, 60)[None]
    with torch.no_grad():
        before, after = (model(input_ids=ids).logits for model in (base, merged))
        beside = peft.PeftModel.from_pretrained(base, tmp_path / "out" / "adapter")(input_ids=ids).logits
    torch.testing.assert_close(after, beside, rtol=0, atol=1e-4)
    assert (after - before).abs().max() > 1e-3
    assert str(standin) not in (tmp_path / "out" / "adapter" / "adapter_config.json").read_text()


@pytest.mark.full
@pytest.mark.timeout(1200)
@vllms.NEEDED
def test_the_whole_road_with_adapters_through_vllm_is_killed_resumed_exported_and_served_by_vllm_as_the_learner_knows_it(standin, tmp_path):
    torn, out = tmp_path / "torn", tmp_path / "out"
    engine = f"vllm:python={vllms.python()},length=512"
    killed(flags(standin, out=torn, lora=4, lr=0.01, engine=engine, steps=6, **{"checkpoint-every": 2}), torn)
    strop("train", "--resume", torn)
    assert len({line["digest"]["weights"] for line in lines(torn)}) == 6, "the adapters moved at every step"
    for line in lines(torn):
        canary = line["watch"]["canary"]
        assert canary["engine"] == pytest.approx(canary["learner"], abs=1e-3)  # what was delivered is what vLLM computes with
        assert line["bill"]["measured"] > 0
    strop("export", torn, out)

    served, base = ({"model": str(place), "steps": 1, "task": "chain", "slots": 16} for place in (out, standin / "model"))
    trained = load(served["model"])
    engine = engines.build(trained, Recipe(**served, engine=engine))
    try:
        groups = last_groups(torn)
        row = groups[0].rollouts[0].rows[0]
        prompt, said = row.segments[0].tokens, row.segments[1].tokens

        async def scored():
            root = await engine.open(prompt, root="road")
            return await engine.score(await engine.extend(root, said, kind="forced"))

        theirs = asyncio.run(scored())
    finally:
        engine.close()
    ours, before = (logp_of(load(one["model"]), groups)[: len(said)] for one in (served, base))
    assert theirs == pytest.approx(ours, abs=2e-3)
    assert max(abs(a - b) for a, b in zip(theirs, before, strict=True)) > 1e-2, "what vLLM serves is not the base"


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma3_text", "gpt_neox", "qwen3_moe"])
def test_other_families_train_a_step_and_sampler_and_learner_agree(family, tmp_path, capsys):
    STANDIN["write"](tmp_path, family)
    main(flags(tmp_path, out=tmp_path / "run", steps=1, system=None, template=None))
    (line,) = read_metrics(tmp_path / "run")
    assert line["mismatch"] < 1e-4
    assert line["grad_norm"] > 0


@pytest.mark.parametrize("family", ["mamba", "bloom"])
def test_a_family_that_the_engine_cannot_cache_is_refused_in_words(family, tmp_path, refused):
    STANDIN["FAMILIES"][family] = {}
    STANDIN["write"](tmp_path, family)
    said = refused(*flags(tmp_path, out=tmp_path / "run", system=None, template=None))
    assert f"the embedded engine cannot decode for {family.capitalize()}ForCausalLM" in said
    assert "Take a decoder with plain attention" in said


# ------------------------------------------------------------------------------------------- the record


def test_a_changed_file_is_not_resumed_nor_replayed(standin, tmp_path, refused, capsys):
    data = tmp_path / "mine.jsonl"
    data.write_bytes((standin / "train.jsonl").read_bytes())
    main(flags(standin, data=data, out=tmp_path / "run", steps=1))
    capsys.readouterr()
    data.write_bytes(data.read_bytes() + b"\n")
    for command in (["train", "--resume", tmp_path / "run"], ["replay", tmp_path / "run"]):
        said = refused(*command)
        assert "mine.jsonl, which has changed since the run began: its sha256 was" in said
    data.unlink()
    assert "mine.jsonl, which is gone" in refused("train", "--resume", tmp_path / "run")


def test_the_record_holds_what_sha256sum_says_and_every_choice(standin, tmp_path, capsys):
    main(flags(standin, **{"out": tmp_path / "run", "steps": 0, "eval-data": standin / "test.jsonl", "instruct": "no"}))
    about = json.loads((tmp_path / "run" / "recipe.json").read_text())
    for name, digest in about["data"]["files"].items():
        assert subprocess.run(["sha256sum", name], capture_output=True, text=True, check=True).stdout.split()[0] == digest
    assert (about["data"]["train"], about["data"]["test"]) == (200, 40)
    chosen = {name: about["recipe"][name] for name in ("prompt_field", "answer_field", "grader", "system", "template", "instruct")}
    assert chosen == {
        "prompt_field": "question", "answer_field": "answer", "grader": "math", "system": SYSTEM,
        "template": "enable_thinking=false", "instruct": "no",
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------ rows


def rows(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def questions(count):
    return [{"question": f"What is {n} and {n}?", "answer": f"It is {2 * n}.\n#### {2 * n:,}"} for n in range(count)]


def test_gsm8k_answers_are_read_behind_their_mark_commas_and_all(tmp_path):
    table = source(f"jsonl:{rows(tmp_path / 'q.jsonl', *questions(700))},prompt=question,answer=answer")
    tasks = {task.prompt.split()[2]: task for split in table.splits.values() for task in split}
    assert tasks["3"].needs["answer"] == "6"
    assert tasks["600"].needs["answer"] == "1,200"
    for text, right in (
        ("<answer>1200</answer>", 1.0),
        ("\\boxed{1,200}", 1.0),
        ("<answer>1 200 coins</answer>", None),
        ("\\boxed{120}", 0.0),
    ):
        assert right is None or table.grade(tasks["600"], text)["outcome"] == right
    assert table.grade(tasks["600"], table.gold(tasks["600"]))["outcome"] == 1.0


def test_held_out_questions_are_in_no_training_row_in_any_spelling(tmp_path):
    train = rows(tmp_path / "train.jsonl", *questions(30))
    test = rows(tmp_path / "test.jsonl", *[{**q, "question": q["question"].upper().replace(" ", "  ")} for q in questions(5)])
    table = source(f"jsonl:{train},prompt=question,answer=answer,held_out={test}")
    assert table.sizes == {"train": 25, "test": 5}
    assert table.contents()["left_out"] == {"are in test.jsonl too": 5}
    asked = [{" ".join(t.prompt.casefold().split()) for t in table.splits[s]} for s in ("train", "test")]
    assert not asked[0] & asked[1]


def test_without_a_second_file_spellings_of_one_question_share_a_side(tmp_path):
    twice = questions(80) + [{**q, "question": q["question"].lower() + " "} for q in questions(80)]
    table = source(f"jsonl:{rows(tmp_path / 'q.jsonl', *twice)},prompt=question,answer=answer")
    asked = [{" ".join(t.prompt.casefold().split()) for t in table.splits[s]} for s in ("train", "test")]
    assert all(asked)
    assert not asked[0] & asked[1]


def test_an_evaluation_asks_each_held_out_question_once(standin, capsys):
    main(["eval", str(standin / "model"), "--data", str(standin / "train.jsonl"), "--eval-data", str(standin / "test.jsonl"), *FIELDS,
          "--tasks", "100", "--samples", "1", "--max-tokens", "4", "--json"])  # fmt: skip
    assert json.loads(capsys.readouterr().out)["tasks"] == 40


def test_long_prompts_are_refused_by_name_or_left_out_and_counted(standin, tmp_path, refused, capsys):
    long = rows(tmp_path / "long.jsonl", *questions(40), {"question": "so " * 600, "answer": "x\n#### 1"})
    said = refused(*flags(standin, data=long, out=tmp_path / "run"))
    assert "row 41 of long.jsonl: its prompt has" in said
    assert "there is room for 500 beside the reply" in said
    assert "--longest-prompt 500" in said
    main(flags(standin, **{"data": long, "out": tmp_path / "run", "steps": 1, "longest-prompt": 100}))
    assert "left out: 1 that have a prompt of more than 100 tokens" in capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["data"]["left_out"] == {"have a prompt of more than 100 tokens": 1}


# ---------------------------------------------------------------------------------------- wrong on purpose


GOOD = questions(20)


@pytest.mark.parametrize(
    ("bad", "changes", "says"),
    [
        ([{"question": "q"}], {}, "row 1 of bad.jsonl has no field 'answer'; it has: question. Name it with --answer-field"),
        ([], {}, "bad.jsonl has no rows"),
        ([*GOOD[:16], "{not json", *GOOD[17:]], {}, "row 17 of bad.jsonl is not JSON"),
        ([*GOOD[:4], {"question": "q", "answer": "so it is 4"}], {}, "row 5 of bad.jsonl: field 'answer' has no mark '####'"),
        ([*GOOD[:4], {"question": "q", "answer": "x\n#### "}], {}, "row 5 of bad.jsonl: field 'answer' has nothing behind its mark"),
        ([{"question": "q", "answer": "1"}, {"question": "r", "answer": "x^"}], {}, "row 2 of bad.jsonl: math-verify reads no number"),
        ([{"question": "q", "answer": "1"}, {"question": "r", "answer": "???"}], {}, "the answer '???' of field 'answer'"),
        (GOOD, {"grader": "maths"}, "grader is 'math' or 'exact', got 'maths'. Did you mean 'math'?"),
        (GOOD, {"prompt-field": "prompt"}, "has no field 'prompt'; it has: question, answer"),
        (GOOD, {"data": "nowhere.jsonl"}, "there is no such file"),
        (GOOD, {"task": "chain"}, "a run draws from one of them"),
        (GOOD, {"template": "enable_thinkin=false"}, "reads no variable 'enable_thinkin'. Did you mean 'enable_thinking'?"),
        (GOOD, {"template": "messages=[]"}, "messages is strop's to set"),
        (GOOD, {"template": "thinking"}, "write NAME=VALUE"),
        (GOOD, {"max-tokens": 512}, "has 512 positions, so a reply of 512 leaves none for a prompt. Lower --max-tokens"),
        (GOOD[:1], {"eval-tasks": 5}, "name a file of held-out questions, --eval-data"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_input_is_one_line_that_says_what_to_do(bad, changes, says, standin, tmp_path, refused):
    file = rows(tmp_path / "bad.jsonl", *bad)
    assert says in refused(*flags(standin, **{"data": file, "out": tmp_path / "run", "steps": 0, **changes}))


def test_flags_of_a_file_without_a_file_are_refused(refused):
    assert "grader='exact' says how a file of questions is read: name it with --data FILE" in refused("train", "--grader", "exact")


def test_a_model_without_a_chat_template_is_refused(standin, tmp_path, refused):
    bare = tmp_path / "bare"
    shutil.copytree(standin / "model", bare)
    (bare / "chat_template.jinja").unlink()
    assert "has no chat template" in refused(*flags(standin, model=bare, out=tmp_path / "run"))


def test_a_model_that_names_no_token_to_end_a_reply_is_refused(standin, tmp_path, refused):
    endless = tmp_path / "endless"
    shutil.copytree(standin / "model", endless)
    for name, field in (("tokenizer_config", "eos_token"), ("generation_config", "eos_token_id"), ("config", "eos_token_id")):
        file = endless / f"{name}.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {field: None}))
    assert "names no token that ends a reply" in refused(*flags(standin, model=endless, out=tmp_path / "run"))


def test_a_tokenizer_of_another_model_is_refused(standin, tmp_path, refused):
    from transformers import AutoTokenizer

    other = tmp_path / "other"
    shutil.copytree(standin / "model", other)
    tokenizer = AutoTokenizer.from_pretrained(other)
    tokenizer.add_tokens([f"<|more{n}|>" for n in range(40)])
    tokenizer.chat_template = tokenizer.chat_template.replace("<|im_start|>", "<|more39|>")
    tokenizer.save_pretrained(other)
    assert "its chat template writes token 558: the tokenizer is another model's" in refused(
        *flags(standin, model=other, out=tmp_path / "run")
    )


# ------------------------------------------------------------------------------------------------- chat


def test_a_reply_ends_as_the_template_ends_it_whatever_the_tokenizer_calls_the_end(standin):
    """As Gemma's: the tokenizer's own is the end of a document, and the model stops at both."""
    policy = load(str(standin / "model"))
    policy.tokenizer.eos_token = "<|endoftext|>"
    written = ChatRenderer(policy.tokenizer)
    written.eos = eos_ids(policy.tokenizer, policy.model)
    document, turn = policy.tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>"])
    assert written.eos == (document, turn)
    assert written.reply("42")[-1] == turn
    said = [{"role": role, "content": text} for role, text in (("user", "one"), ("assistant", "2"), ("user", "three"))]
    whole = policy.tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
    assert policy.tokenizer.decode((*written.prompt("one"), *written.reply("2"), *written.turn("three"))) == whole


def test_thinking_switched_off_is_what_the_template_writes(standin):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(standin / "model")
    off, on = (ChatRenderer(tokenizer, Chat.of(SYSTEM, f"enable_thinking={word}")) for word in ("false", "true"))
    off.check()
    text = tokenizer.decode(off.prompt("one?"))
    assert (
        text == f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\none?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )
    assert tokenizer.decode(on.prompt("one?")) == text.removesuffix("<think>\n\n</think>\n\n")


@pytest.mark.parametrize(
    ("template", "read"),
    [
        ("{% set ns = namespace(first=true) %}{% for m in messages %}{{ m.content | default('x') }}{% break %}{% endfor %}", {"messages"}),
        ("{% if day is not defined %}{% set day = 'today' %}{% endif %}{{ day }}", {"day"}),
        ("{% macro shown(text, style) %}{{ text }}{{ style }}{% endmacro %}{{ shown(messages, 1) }}", {"messages"}),
        ("{% for m in messages %}{% generation %}{{ m.content + eos_token }}{% endgeneration %}{% endfor %}", {"messages", "eos_token"}),
        ("{% set thinking = true %}{{ thinking }}{{ '{% x %}' }}{# {{ comment }} #}", set()),
    ],
)
def test_a_variable_of_a_template_is_what_it_reads_and_does_not_set_itself(template, read):
    assert variables(template) == read


def test_a_system_message_that_a_template_refuses_or_drops_is_said(tmp_path):
    STANDIN["write"](tmp_path, "gemma3_text")
    with pytest.raises(ModelError, match="refuses a conversation of system, user: System role not supported"):
        load(str(tmp_path / "model"), chat=Chat(SYSTEM))
    silent = load(str(tmp_path / "model")).tokenizer
    silent.chat_template = "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}"
    with pytest.raises(ModelError, match="leaves the system message out"):
        ChatRenderer(silent, Chat(SYSTEM)).check()


def test_the_stand_in_keeps_the_ratios_of_the_real_configuration(standin):
    config = json.loads((standin / "model" / "config.json").read_text())
    assert config["head_dim"] * config["num_attention_heads"] == 2 * config["hidden_size"]
    assert config["num_attention_heads"] == 2 * config["num_key_value_heads"]
    assert config["intermediate_size"] == 3 * config["hidden_size"]
    assert config["tie_word_embeddings"]
    assert math.isclose(config["rope_parameters"]["rope_theta"], 1e6)
    true = STANDIN["TRUE"]
    assert (true["num_attention_heads"], true["num_key_value_heads"], true["intermediate_size"]) == (16, 8, 3072)
