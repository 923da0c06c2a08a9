"""Calls: every format gives back what it wrote, reads nothing that is broken, and never raises for a text."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.seams.world import Broken, Call, Tool
from strop.worlds.calls import MOST, Fenced, Hermes, Line, Xml, behind_thought

GET = Tool("get", "What a key holds.", {"properties": {"key": {"type": "string"}}, "required": ["key"], "additionalProperties": False})
ADD = Tool("add", "A sum.", {"properties": {"a": {"type": "integer"}, "b": {"type": "number"}}, "required": ["a", "b"]})
STOP = Tool("stop", "Ends.")
TOOLS = (GET, ADD, STOP)
FORMATS = (Hermes(), Fenced(), Xml(), Line())


def by_name(form):
    return type(form).__name__


@pytest.mark.parametrize("form", FORMATS, ids=by_name)
@pytest.mark.parametrize("call", [Call("get", {"key": "a b"}), Call("add", {"a": 1, "b": 2.5}), Call("stop")])
def test_a_call_comes_back_as_it_was_written(form, call):
    said = f"First this.\n{form.written(call)}\n"
    assert form.read(said, TOOLS) == (call,)
    assert form.read(said + form.written(STOPPED), TOOLS) == (call, STOPPED)
    assert form.read(f"<think>{said}</think>", TOOLS) == (), "a thought is no call"
    assert form.read("no call", TOOLS) == ()


STOPPED = Call("stop")


@pytest.mark.parametrize("form", FORMATS, ids=by_name)
def test_the_first_message_names_every_tool(form):
    shown = form.shown(TOOLS)
    assert all(tool.name in shown for tool in TOOLS)


def hermes(text):
    return f"<tool_call>{text}</tool_call>"


@pytest.mark.parametrize(
    ("form", "said", "why"),
    [
        (Hermes(), "<tool_call>{}", "opened and not closed"),
        (Hermes(), '<tool_call><tool_call>{"name": "stop"}</tool_call>', "opened and not closed"),
        (Hermes(), hermes('{"name": "get", "name": "stop"}'), "it has two fields 'name'"),
        (Hermes(), hermes('{"name": "add", "arguments": {"a": 1, "b": NaN}}'), "NaN is no number"),
        (Hermes(), hermes('{"name": "add", "arguments": {"a": 1, "b": 1e999}}'), "no JSON"),
        (Hermes(), hermes('{"name": "add", "arguments": {"a": 1' + "0" * 5000 + "}}"), "no JSON"),
        (Hermes(), hermes("[" * 10_000), "nested too deeply"),
        (Hermes(), hermes('{"name": "get", "arguments": {"key": "\\ud800"}}'), "half a character"),
        (Hermes(), hermes('{"name": "gett"}'), "there is no tool 'gett'. Did you mean 'get'?"),
        (Hermes(), hermes('{"name": "get", "arguments": {"key": 1}}'), "get: key: 1 is not of type 'string'"),
        (Hermes(), hermes('{"name": "get", "arguments": {}}'), "get: 'key' is a required property"),
        (Hermes(), hermes('{"name": "get", "arguments": {"key": "a", "more": 1}}'), "get: Additional properties are not allowed"),
        (Hermes(), hermes('{"name": "get", "arguments": "a"}'), "a name and an object"),
        (Hermes(), hermes('{"name": ["get"], "arguments": {}}'), "a name and an object"),
        (Hermes(), hermes('{"tool": "get"}'), "nothing else"),
        (Hermes(), hermes("null"), "nothing else"),
        (Hermes(), hermes("x" * 70_000), "longer than"),
        (Fenced(), "```tool\n{", "opened and not closed"),
        (Xml(), "<function=get>\n<parameter=key>a</parameter>", "opened and not closed"),
        (Xml(), "<function=get><parameter=key>a</parameter>more</function>", "stands something else"),
        (Xml(), "<function=get><parameter=key>a</parameter><parameter=key>b</parameter></function>", "twice"),
        (Xml(), "<function=add><parameter=a>one</parameter></function>", "no JSON"),
        (Line(), ">get", "'key' is a required property"),
        (Line(), ">add 1", "'b' is a required property"),
        (Line(), ">stop now", "stop takes no argument"),
        (Line(), ">fly", "there is no tool 'fly'"),
    ],
)
def test_what_is_no_call_is_broken_and_says_why(form, said, why):
    broken, *_ = form.read(said, TOOLS)
    assert isinstance(broken, Broken)
    assert why in broken.why
    assert len(broken.why) < 200


def test_more_calls_than_are_read_are_one_broken_one():
    read = Line().read("\n".join([">stop"] * (MOST + 5)), TOOLS)
    assert read[:MOST] == (STOPPED,) * MOST
    assert read[MOST:] == (Broken(f"more than {MOST} calls at once"),)


MARKS = ("<tool_call>", "</tool_call>", "```tool\n", "```", "<function=get>", "<parameter=key>", "</parameter>", "</function>", ">get ",
         "<think>", "</think>", "\n", '{"name": "get", "arguments": {"key": "', '"}}', "\\ud800", "NaN")  # fmt: skip


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.lists(st.one_of(st.sampled_from(MARKS), st.text(max_size=6)), max_size=14).map("".join))
def test_no_text_raises_and_every_call_that_is_read_keeps_to_its_schema(text):
    for form in FORMATS:
        for call in form.read(text, TOOLS):
            assert isinstance(call, Call | Broken)
            if isinstance(call, Call):
                json.dumps(call.arguments, allow_nan=False).encode()
                assert form.read(form.written(call), TOOLS) == (call,) or "\n" in str(call.arguments) or "</" in str(call.arguments)


def test_an_unclosed_thought_says_nothing():
    assert behind_thought("a<think>b</think>c<think>d") == "c"
