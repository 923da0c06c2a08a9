"""Tools through a model's own chat template, and through an endpoint's own fields."""

import asyncio
import json
import re

import pytest
from standin import serving

from strop.engines import remote
from strop.engines.embedded import EmbeddedEngine
from strop.policies.causal import load
from strop.policies.chat import Chat, ChatRenderer, ModelError
from strop.records import Sampling, Task
from strop.seams.context import Ctx, Handle, Progress
from strop.seams.episode import Episodes, Played
from strop.seams.sampler import grown
from strop.seams.world import Broken, Call, Reply, Tool
from strop.worlds.calls import Fenced, Hermes, Native, function
from strop.worlds.wiki import GET

TEMPLATE = (
    "{% if tools %}<|system|>{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<|im_end|>{% endif %}"
    "{% for message in messages %}<|{{ 'user' if message.role == 'tool' else message.role }}|>"
    "{% if message.role == 'tool' %}<tool_response>{{ message.content }}</tool_response>{% else %}{{ message.content }}{% endif %}"
    "<|im_end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="module")
def policy():
    return load("pico")


def written(policy, template=TEMPLATE):
    return ChatRenderer(policy.tokenizer, Chat(form=template))


def test_a_template_tells_of_tools_and_what_answers_is_a_tool(policy):
    plain = written(policy)
    told = plain.telling([function(GET)])
    assert '"name": "get"' in policy.tokenizer.decode(told.prompt("c?"))
    assert policy.tokenizer.decode(told.turn("cm")).endswith("<|user|><tool_response>cm</tool_response><|im_end|><|assistant|>")
    assert "tool_response" not in policy.tokenizer.decode(plain.turn("cm")), "who is told of none is answered by a user"
    assert plain.telling([function(GET)]) is told, "written once"
    again = told.prompt("c?", ">get c", "cm")
    grown_so = (*told.prompt("c?"), *told.reply(">get c"), *told.turn("cm"))
    assert again == grown_so, "a row that grows is the conversation as the template writes it"


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (TEMPLATE.replace("{% if tools %}", "{% if false %}").replace("in tools", "in []"), "tells of no tools"),
        (TEMPLATE.replace("<tool_response>{{ message.content }}</tool_response>", ""), "leaves out what a tool answers"),
    ],
)
def test_a_template_without_tools_is_refused_with_the_way_out(policy, template, why):
    with pytest.raises(ModelError, match=f"{why}.*--calls hermes"):
        written(policy, template).telling([function(GET)]).turn("x")


class Echo:
    tools = (GET,)

    def start(self, task, seat):
        return 0

    async def reply(self, state, said, ask):
        (call,) = said.calls or (Broken("none"),)
        heard = call.why if isinstance(call, Broken) else call.arguments["key"]
        return state + 1, Reply(f"heard {heard}", done=state == 2)


def episodes(handle, sampler):
    ctx = Ctx(0, Progress(), None, {"actor": handle}, None, place="here")
    return asyncio.run(grown(sampler, Task("c?", {}, "s"), Echo(), ctx))[0]


def test_rows_of_an_engine_and_of_a_script_hold_the_template_told_of_tools(policy):
    renderer = written(policy)
    handle = Handle(EmbeddedEngine(policy.model, policy.tokenizer, seed=0), renderer)
    how = Episodes(n=2, turns=2, max_tokens=6, observation=64, calls=Native(), sampling=Sampling())
    row = episodes(handle, how).rollouts[0].rows[0]
    told = renderer.telling([function(GET)])
    assert row.segments[0].tokens == told.prompt("c?")
    assert row.segments[2].tokens == told.turn("heard none")
    played = episodes(handle, Played(lambda state, turn: Call("get", {"key": "c"}), how)).rollouts[0]
    text = policy.tokenizer.decode(played.rows[0].tokens)
    assert text.startswith("<|system|>{")
    assert re.search(r'<tool_call>\n\{"name": "get", "arguments": \{"key": "c"\}\}\n</tool_call>', text)
    assert "<tool_response>heard c</tool_response>" in text


def test_what_no_template_tells_is_refused():
    with pytest.raises(ValueError, match="no way to tell of tools"):
        Native().through(Handle(None, remote.Utf8()), (GET,))


# ---------------------------------------------------------------------------------------------- an endpoint


def calling(*calls, content=None):
    made = [{"id": f"x{i}", "type": "function", "function": {"name": n, "arguments": a}} for i, (n, a) in enumerate(calls)]
    said = {"choices": [{"message": {"content": content, "tool_calls": made}, "finish_reason": "tool_calls"}], "usage": {}}
    return (200, json.dumps(said).encode(), 0.0)


@pytest.mark.parametrize("form", [Hermes(), Fenced()])
def test_an_endpoint_is_told_in_its_own_fields_and_what_it_calls_is_answered_by_its_tools(form):
    with serving(lambda text: "done") as server:
        server.plan = [calling(("get", '{"key": "c"}'), content="First."), calling(("get", '{"key": "d"}')), (200, b"", 0.0)][:2]
        handle = remote.handle(server.engine, "m", system="Be brief.")
        rollout = episodes(handle, Episodes(n=1, turns=3, observation=0, calls=Native(form))).rollouts[0]
    first, second, third = server.asked
    assert first["tools"] == [function(GET)]
    assert [m["role"] for m in first["messages"]] == ["system", "user"]
    assert second["messages"][2:] == [
        {
            "role": "assistant",
            "content": "First.",
            "tool_calls": [{"id": "call-1-0", "type": "function", "function": {"name": "get", "arguments": '{"key": "c"}'}}],
        },
        {"role": "tool", "tool_call_id": "call-1-0", "content": "heard c"},
    ]
    assert third["messages"][4]["content"] == ""
    assert [turn for turn in rollout.text.split("\n") if turn.startswith("heard")] == ["heard c", "heard d"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ("{", "no JSON"),
        ("[]", "an object of arguments"),
        ('{"key": "a"} or so', "no JSON"),
        ("", "no JSON"),
    ],
)
def test_what_an_endpoint_calls_wrongly_is_a_broken_call_of_the_policy(arguments, why):
    with serving(lambda text: "done") as server:
        server.plan = [calling(("get", arguments))]
        rollout = episodes(remote.handle(server.engine, "m"), Episodes(n=1, turns=2, observation=0, calls=Native())).rollouts[0]
        assert why in rollout.text
        assert [m["role"] for m in server.asked[1]["messages"]] == ["user", "assistant", "user"], "it is told in words"


def test_a_call_that_does_not_keep_to_the_schema_is_answered_by_its_tool():
    with serving(lambda text: "done") as server:
        server.plan = [calling(("get", '{"key": 1}'))]
        episodes(remote.handle(server.engine, "m"), Episodes(n=1, turns=2, observation=0, calls=Native()))
        assert server.asked[1]["messages"][2]["content"] == "heard get: key: 1 is not of type 'string'"


@pytest.mark.parametrize("calls", ["7", '[{"function": {}}]', '[{"function": {"name": 1, "arguments": "{}"}}]', '["\\ud800"]'])
def test_an_answer_with_calls_of_no_shape_is_asked_again(calls):
    broken = f'{{"choices": [{{"message": {{"content": "", "tool_calls": {calls}}}}}]}}'.encode()
    with serving(lambda text: "done") as server:
        server.plan = [(200, broken, 0.0)]
        rollout = episodes(remote.handle(server.engine, "m"), Episodes(n=1, turns=1, observation=0, calls=Native())).rollouts[0]
    assert len(server.asked) == 2
    assert rollout.text == "done"


def test_several_calls_at_once_are_all_answered():
    engine = remote.handle("remote:http://127.0.0.1:9/v1", "m").engine.telling([], Native())

    async def line():
        root = await engine.open(b"c?", root="r")
        text = "\n".join(Native().raw("get", json.dumps({"key": key})) for key in "ab")
        spoken = await engine.extend(root, text.encode(), kind="observation")
        object.__setattr__(spoken.segment, "kind", "action")
        return await engine.extend(spoken, b"both", kind="observation")

    said = engine._said(asyncio.run(line()))
    assert [(m["role"], m["content"]) for m in said[1:]] == [("assistant", ""), ("tool", "both"), ("tool", "")]
    assert [m["tool_call_id"] for m in said[2:]] == [call["id"] for call in said[1]["tool_calls"]]


def test_what_is_told_has_a_whole_schema():
    assert function(Tool("end", "Ends."))["function"]["parameters"] == {"type": "object", "properties": {}}
