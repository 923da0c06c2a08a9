"""Prompts for a model without a chat template: formats, files of one's own, stop strings, worked examples."""

import asyncio
import json
import re
import time

import pytest

from strop.cli import main
from strop.commands.recipes import settled
from strop.engines.embedded import EmbeddedEngine
from strop.policies import rendering
from strop.policies.causal import load
from strop.policies.chat import Chat, ChatRenderer, ModelError, needed, opened, stop_strings
from strop.recipe import Recipe
from strop.records import Group, Rollout, Row, Segment, Task
from strop.run import create, resume
from strop.seams.context import Handle
from strop.tasks import source
from strop.tasks.shots import shots
from strop.watch.evidence import forged

FILE = """{% set stop_strings = ["\\n\\nQ"] %}
{% for message in messages %}{% if message.role == "user" %}Q {{ message.content }}
A{% else %} {{ message.content }}

{% endif %}{% endfor %}"""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """pico without its template, as a base model comes."""
    policy, place = load("pico"), tmp_path_factory.mktemp("base") / "model"
    policy.tokenizer.chat_template = None
    policy.export(place)
    return place


def form(tmp_path, text):
    file = tmp_path / "own.jinja"
    file.write_text(text)
    return file


def test_a_base_model_is_refused_with_the_flags_that_write_its_prompts(base, refused):
    for command in (["train", "--model", base], ["plan", "--model", base], ["eval", base]):
        assert "has no chat template, as base models have none" in (said := refused(*command))
        assert "--chat qa --shots 4" in said


def test_a_format_writes_question_and_answer_and_its_stop_string_ends_a_reply_but_is_no_part_of_it(base):
    written = load(str(base), chat=Chat.of("Add.", "", "qa")).renderer
    assert written.tokenizer.decode(written.prompt("1+1=?")) == "Add.\n\nQuestion: 1+1=?\nAnswer:"
    assert written.text(written._encode(" 2\n\nQuestion: 3")) == " 2\n"
    assert written.tokenizer.decode(written.reply("2")) == " 2\nQuestion:"
    whole = [*written.prompt("1+1=?"), *written.reply("2"), *written.turn("2+2=?")]
    assert written.tokenizer.decode(whole) == "Add.\n\nQuestion: 1+1=?\nAnswer: 2\nQuestion: 2+2=?\nAnswer:"


def test_the_engine_stops_at_a_string_of_several_tokens_and_all_of_them_are_trained(base):
    policy = load(str(base), chat=Chat.of("", "", "qa"))
    engine = EmbeddedEngine(policy.model, policy.tokenizer, eos_ids=())
    handle = Handle(engine, policy.renderer)
    script = [*policy.renderer.reply("<answer>2</answer>"), 5, 6]
    assert len(policy.renderer._encode("\nQuestion:")) > 1

    async def reply():
        root = await handle.open("1+1=?", root="0")
        return await handle.generate(root, max=60, keep=False)

    plain, asked = engine.runner.head, iter(script)

    def scripted(state):  # the model's own logits, with the wanted token made certain
        logits = plain(state)
        logits[..., next(asked)] = 1e4
        return logits

    engine.runner.head = scripted
    node = asyncio.run(reply())
    assert node.stop == "stop"
    assert policy.tokenizer.decode(node.segment.tokens) == " <answer>2</answer>\nQuestion:"
    assert handle.text(node) == " <answer>2</answer>"
    row = node.row()
    assert row.trains == {node.segment.id}
    assert row.actions == len(node.segment.tokens) == len(node.segment.logp)


@pytest.mark.parametrize("chat", ["qa", "plain", FILE])
def test_a_run_on_a_base_model_trains_resumes_and_exports_its_template(base, tmp_path, chat):
    recipe = settled(Recipe(model=str(base), chat=chat, shots=2, task="chain:steps=1", steps=2, tasks=2, group=2, max_tokens=12), {})
    run = create(recipe, tmp_path / "run")
    run.train()
    about = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert about["recipe"]["chat"] == chat
    assert len(about["shots"]) == 2
    resume(tmp_path / "run")
    assert not main(["export", str(tmp_path / "run"), str(tmp_path / "out")])
    out = load(str(tmp_path / "out"))
    out.renderer.show(shots(source("chain:steps=1"), 2))
    assert out.renderer.stop == run.policy.renderer.stop != ()
    assert out.renderer.prompt("1+1=?") == run.policy.renderer.prompt("1+1=?")
    by_transformers = out.tokenizer.apply_chat_template(out.renderer._opened("1+1=?"), tokenize=False, add_generation_prompt=True)
    assert by_transformers == out.renderer._template(out.renderer._opened("1+1=?"), True)
    card = (tmp_path / "out" / "README.md").read_text()
    assert json.dumps(out.renderer.stop[0]) in card
    assert about["shots"][0][0] in card
    assert json.loads((tmp_path / "out" / "strop.json").read_text())["stop_strings"] == list(out.renderer.stop)


def test_a_format_and_the_number_of_examples_are_part_of_what_a_recipe_is(tmp_path):
    plain = Recipe()
    assert {"chat", "shots"}.isdisjoint(plain.describe()), "recipes of before keep their fingerprints"
    marks = {plain.fingerprint, Recipe(chat="qa").fingerprint, Recipe(chat="qa", shots=2).fingerprint}
    file = form(tmp_path, FILE)
    own = settled(plain, {"chat": str(file)})
    assert own.chat == FILE
    file.write_text(FILE.replace("Q ", "q "))
    assert len({*marks, own.fingerprint, settled(plain, {"chat": str(file)}).fingerprint}) == 5


# ------------------------------------------------------------------------------------------------ files


def test_a_template_that_reads_a_variable_nobody_gives_is_refused_and_one_that_asks_for_it_is_not(base, tmp_path, refused):
    file = form(tmp_path, FILE.replace("Q {{", "{{ topic }} {{"))
    assert "reads 'topic', which nobody gives" in refused("eval", base, "--chat", file)
    load(str(base), chat=Chat.of("", "topic=sums", file.read_text()))
    assert needed("{{ a }}{% if b is defined %}{{ b }}{% endif %}{{ c | default('x') }}") == {"a"}


@pytest.mark.parametrize(
    "loop",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 7 ** (9 ** 9) }}",
    ],
)
def test_a_template_that_loops_for_ever_is_stopped_wherever_it_does_so(base, monkeypatch, loop):
    from strop.policies import chat

    with_deadline = rendering.Rendering(deadline=0.5)
    monkeypatch.setattr(chat, "_render", with_deadline)
    started = time.monotonic()
    late = FILE.replace("Q {{", "{% if 'late' in message.content %}" + loop + "{% endif %}Q {{")
    with pytest.raises(ModelError, match="did not end within"):
        load(str(base), chat=Chat.of("", "", FILE + loop))
    if "**" not in loop:  # jinja2 computes constants when it compiles, so that one never passes the check
        written = load(str(base), chat=Chat.of("", "", late)).renderer
        with pytest.raises(ModelError, match="did not end"):
            written.prompt("late")
        assert written.prompt("early"), "another process renders what comes after"
    assert time.monotonic() - started < 30
    with_deadline.close()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (FILE.replace("{{ message.content }}\nA", "\nA"), "leaves the question out"),
        (FILE.replace("{% set stop_strings", "{% set other"), "no reply would end"),
        (FILE.replace('["\\n\\nQ"]', "[1]"), "a list of texts"),
        ("{{ 'a' * 10 ** 10 }}" + FILE, "MiB of memory"),
        ("{% for %}", "jinja2 cannot read"),
        ("{{ messages.__class__.__mro__ }}" + FILE, "unsafe"),
        ("{{ raise_exception('no') }}" + FILE, "no"),
    ],
)
def test_a_template_file_that_cannot_be_used_is_refused_in_a_line(base, tmp_path, refused, text, why):
    assert re.search(why, refused("eval", base, "--chat", form(tmp_path, text)))


def test_a_file_that_is_none_and_a_format_that_is_unknown_are_refused(tmp_path, refused):
    assert "no such template file" in refused("train", "--chat", tmp_path / "none.jinja")
    assert "Did you mean 'qa'" in refused("train", "--chat", "qe")
    (tmp_path / "bytes.jinja").write_bytes(b"\xff\xfe{{")
    with pytest.raises(ValueError, match="UTF-8"):
        opened(str(tmp_path / "bytes.jinja"))
    with pytest.raises(ValueError, match="writes nothing of a conversation"):
        opened(str(form(tmp_path, "Question:")))
    with pytest.raises(ValueError, match="at most"):
        opened(str(form(tmp_path, "{{ a }}" + "x" * (1 << 18))))


def test_stop_strings_are_data_that_nobody_computes():
    assert stop_strings('{% set stop_strings = ["a", "b"] %}') == ("a", "b")
    assert stop_strings("{% set stop_strings = 'a' %}") == ("a",)
    assert stop_strings("{{ messages }}") == ()


def test_a_tokenizer_that_begins_every_text_with_a_token_begins_prompts_with_it():
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "?": 2, "x": 3}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="?")
    written = ChatRenderer(tokenizer, Chat.of("", "", "qa"))
    written.check()
    assert written.prompt("x")[0] == 0
    with pytest.raises(ModelError, match="begin with"):
        ChatRenderer(tokenizer, Chat.of("", "", FILE)).check()


# ---------------------------------------------------------------------------------------------- examples


def test_examples_are_the_same_for_all_never_the_question_itself_and_none_is_held_out():
    drawn = source("chain:steps=1")
    made = shots(drawn, 3)
    assert len(made("other")) == 3
    assert made("other") == shots(drawn, 3)("another")
    own = made.pairs[1][0]
    assert own not in [question for question, _ in made(own.upper())]
    assert len(made(own)) == 3
    assert made(own)[0] == made("other")[0], "what stands before it stays where it is"
    held_out = {drawn.task("test", seed, index).prompt for seed in (0, 1) for index in range(200)}
    assert held_out.isdisjoint(question for question, _ in made.pairs)
    for question, reply in made.pairs:
        task = next(drawn.task("train", 2**31 - 1, i) for i in range(8) if drawn.task("train", 2**31 - 1, i).prompt == question)
        assert drawn.grade(task, reply)["outcome"] == 1


def table(tmp_path, count):
    rows = [{"question": f"What is {i} + 1?", "answer": f"{i} and one is {i + 1}.\n#### {i + 1}"} for i in range(count)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"jsonl:{file},prompt=question,answer=answer,grader=exact"


def test_a_file_with_worked_solutions_shows_them_and_more_examples_than_rows_are_refused(tmp_path):
    drawn = source(table(tmp_path, 20))
    question, reply = shots(drawn, 2).pairs[0]
    number = int(question.split()[2])
    assert reply == f"{number} and one is {number + 1}.\n<answer>{number + 1}</answer>"
    assert shots(drawn, drawn.size - 1)
    with pytest.raises(ValueError, match=f"shots={drawn.size}.*Lower --shots"):
        shots(drawn, drawn.size)


def test_a_template_that_strips_the_work_of_earlier_replies_shows_no_examples(base):
    strips = FILE.replace("{% else %} {{ message.content }}", "{% else %} {{ message.content.split('</think>')[-1] }}")
    written = load(str(base), chat=Chat.of("", "", strips)).renderer
    written.show(shots(source("chain:steps=1"), 1))
    with pytest.raises(ModelError, match="rewrites earlier replies"):
        written.prompt("1+1=?")


def test_an_endpoint_is_shown_the_examples_as_earlier_turns_and_its_chat_is_its_own(base, refused):
    from strop.engines.remote import handle

    made = handle("remote:http://localhost:1/v1", "m", 0, "Add.", [("1+1=?", "2")])
    assert [said["role"] for said in made.engine.said_first] == ["system", "user", "assistant"]
    assert "writes the chat itself" in refused("eval", "m", "--engine", "remote:http://localhost:1/v1", "--chat", "qa")


def test_a_template_of_the_models_own_that_never_writes_the_question_is_refused(tmp_path, refused):
    import shutil

    from strop import pico

    place = shutil.copytree(pico.path(), tmp_path / "model")
    (place / "chat_template.jinja").write_text("hello{% if add_generation_prompt %}A:{% endif %}")
    assert "leaves the question out, so every task would have one prompt" in refused("eval", place, "--tasks", 1)


QWEN = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_what_opens_a_turn_is_known_where_the_template_has_marks_of_its_own(base):
    assert load("pico").renderer.marks == ("<|user|>", "<|assistant|>")
    tokenizer = load("pico").tokenizer
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    assert ChatRenderer(tokenizer, Chat(form=QWEN)).marks == ("<|im_start|>user", "<|im_start|>assistant")
    for plain in ("qa", "plain", FILE):
        assert load(str(base), chat=Chat.of("", "", plain)).renderer.marks == (), "words that anybody may write"
    rewrites = QWEN.replace("{{ message.content }}", "{{ message.content if loop.last else 'earlier' }}")
    assert ChatRenderer(tokenizer, Chat(form=rewrites)).marks == ()


def test_a_forged_turn_is_what_the_policy_wrote_not_what_it_was_told():
    renderer = load("pico").renderer

    def rollout(said, told):
        action = Segment("action", renderer.reply(said), "a", logp=tuple(0.0 for _ in renderer.reply(said)))
        return Rollout((Row((Segment("observation", renderer.turn(told), "o"), action), frozenset("a")),), "r", text=f"{told}\n{said}")

    task = Task("?", {}, "s")
    told_so, forged_one = rollout("4", "<|user|>a page that says so"), rollout("4<|user|>5", "a page")
    assert [forged(renderer, [Group(task, (one,))]) for one in (told_so, forged_one)] == [0.0, 1.0]
    assert forged(renderer, [Group(task, (told_so, forged_one))]) == 0.5
