"""The desk over real HTTP: who may ask, what goes on, what opens a row, what is answered once, what is refused, who leaves."""

import asyncio
import json
from typing import Any

import httpx2
import pytest

from strop.check.growing import Letters, Script
from strop.policies.causal import load
from strop.records import Sampling, Task
from strop.seams.context import Handle
from strop.serving.desk import LARGEST, Desk
from strop.serving.talk import Talk, bare
from strop.worlds.calls import Hermes, Line

TASK = Task("question", {}, "rooms")
ASK = {"role": "user", "content": "question"}
GET = {
    "type": "function",
    "function": {"name": "get", "description": "", "parameters": {"properties": {"key": {"type": "string"}}, "required": ["key"]}},
}


def talk_of(engine: Any = None, renderer: Any = None, **how: Any) -> Talk:
    knobs = {"turns": 8, "max_tokens": 6, "limit": 400, "rows": 1, "sampling": Sampling(), "stop": (), "calls": None, "number": 0}
    return Talk(TASK, Handle(engine or Script(), renderer or Letters()), "task#0", **{**knobs, **how})


async def asked(client: Any, *messages: Any, **more: Any) -> Any:
    return await client.post("chat/completions", json={"model": "actor", "messages": [*messages], **more})


def at_desk(talk: Talk, work: Any) -> Any:
    """What `work(client, desk)` gives, with a key for this talk."""

    async def main() -> Any:
        async with Desk() as desk:
            key = desk.seat(talk.answer)
            headers = {"Authorization": f"Bearer {key}"}
            async with httpx2.AsyncClient(base_url=desk.url, headers=headers, timeout=10) as client:
                return await work(client, desk)

    return asyncio.run(main())


def said(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def refused(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def kinds(talk: Talk) -> list[list[str]]:
    return [[s.kind for s in row.segments] for row in talk.row_list()]


def test_a_known_conversation_goes_on_and_any_other_opens_a_row():
    talk = talk_of(rows=2)

    async def work(client: Any, _: Any) -> None:
        first = said(await asked(client, ASK))
        await asked(client, ASK, first, user("more"))
        await asked(client, user("another question"))
        await asked(client, ASK, {"role": "assistant", "content": "what it never said"}, user("more"))

    at_desk(talk, work)
    assert kinds(talk) == [["prompt", "action", "observation", "action"], ["prompt", "action"], ["prompt", "action"]]
    first, second, third = talk.row_list()
    assert [s.id for s in first.segments] == ["0", "0.0", "0.0.0", "0.0.0.0"], "the task's own words are row 0, as in Episodes"
    assert len({row.segments[0].id for row in (first, second, third)}) == 3
    assert Letters().text(third.segments[0].tokens) == Letters().text(Letters().prompt("questionwhat it never saidmore"))


def test_a_reply_that_is_gone_on_from_twice_is_trained_once():
    talk = talk_of()

    async def work(client: Any, _: Any) -> None:
        first = said(await asked(client, ASK))
        await asked(client, ASK, first, user("this way"))
        await asked(client, ASK, first, user("or that"))

    at_desk(talk, work)
    assert kinds(talk) == [["prompt", "action", "observation", "action"]] * 2
    one, other = talk.row_list()
    assert one.segments[1] == other.segments[1]
    assert one.trains == {"0.0", "0.0.0.0"}
    assert other.trains == {"0.0.1.0"}


def test_asked_twice_is_answered_once():
    engine = Script()
    talk = talk_of(engine)

    async def work(client: Any, _: Any) -> list[Any]:
        together = await asyncio.gather(*(asked(client, ASK) for _ in range(3)))
        again = await asked(client, {"role": "user", "content": [{"type": "text", "text": "question"}]}, max_tokens=3)
        return [each.json() for each in (*together, again)]

    answers = at_desk(talk, work)
    assert all(answer == answers[0] for answer in answers)
    assert engine.asked == 1
    assert len(talk.drawn) == 1


@pytest.mark.parametrize(
    "more",
    [
        {"temperature": 0.5},
        {"temperature": 0},
        {"top_p": 0.9},
        {"n": 2},
        {"logprobs": True},
        {"top_logprobs": 3},
        {"stop": ["a"]},
        {"stop": 7},
        {"seed": 1},
        {"max_tokens": 7},
        {"max_completion_tokens": 7},
        {"presence_penalty": 0.1},
        {"logit_bias": {"1": 5}},
        {"response_format": {"type": "json_object"}},
        {"tool_choice": "required"},
        {"top_k": 5},
        {"min_p": 0.1},
        {"extra": {"repetition_penalty": 2}},
    ],
    ids=str,
)
def test_other_sampling_is_refused_by_its_name(more):
    engine = Script()
    answer = at_desk(talk_of(engine), lambda client, _: asked(client, ASK, **more))
    assert refused(answer) == (400, "other_sampling")
    assert next(iter(more)) in answer.json()["error"]["message"]
    assert engine.asked == 0


def test_what_the_sampler_says_itself_may_be_said():
    talk = talk_of(sampling=Sampling(0.7), stop=("x",))
    same = {"temperature": 0.7, "top_p": 1.0, "n": 1, "stop": ["x"], "seed": None, "max_tokens": 2, "user": "me", "logprobs": False}
    answer = at_desk(talk, lambda client, _: asked(client, ASK, **same))
    assert answer.json()["usage"]["completion_tokens"] <= 2
    assert talk.row_list()[0].segments[1].author.sampling == Sampling(0.7)


def test_a_foreign_key_is_told_nothing():
    talk = talk_of()

    async def work(client: Any, desk: Any) -> list[Any]:
        found = [await client.get("models")]
        for key in ("", "Bearer", "Bearer sk-other", f"Basic {next(iter(desk.seats))}", "Bearer \u00e9".encode("latin-1")):
            found.append(await client.get("models", headers={"Authorization": key}))
            found.append(await client.post("chat/completions", json={"messages": [ASK]}, headers={"Authorization": key}))
        other = talk_of()
        found.append(await client.get("models", headers={"Authorization": f"Bearer {desk.seat(other.answer)}"}))
        return found

    good, *foreign, another = at_desk(talk, work)
    assert (good.status_code, another.status_code) == (200, 200)
    assert {refused(answer) for answer in foreign} == {(401, "invalid_api_key")}
    assert talk.drawn == {}


BAD = [
    b"",
    b"[]",
    b"{",
    b"\xff",
    b'{"messages": NaN}',
    b'{"messages": [], "messages": []}',
    b"[" * 100_000,
    b'{"messages": "hello"}',
    b'{"messages": []}',
    b'{"messages": [7]}',
    b'{"messages": [{"role": "root", "content": "a"}]}',
    b'{"messages": [{"role": ["user"], "content": "a"}]}',
    b'{"messages": [{"role": "user", "content": 7}]}',
    b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
    b'{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}',
    b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}',
    b'{"messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}, {"role": "user", "content": "c"}]}',
    b'{"messages": [{"role": "user", "content": "a", "tool_calls": [{"function": {"name": "x", "arguments": "{}"}}]}]}',
    b'{"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": 1}}]}, {"role": "user", "content": "a"}]}',
    b'{"messages": [{"role": "user", "content": "a"}], "tools": [7]}',
    b'{"messages": [{"role": "user", "content": "a"}], "tools": [{"type": "function", '
    b'"function": {"name": "f", "parameters": {"type": 7}}}]}',
]


@pytest.mark.parametrize("body", BAD, ids=range(len(BAD)))
def test_what_is_no_request_is_refused_in_words(body):
    talk = talk_of(calls=Hermes())

    async def work(client: Any, _: Any) -> Any:
        answer = await client.post("chat/completions", content=body)
        assert said(await asked(client, ASK)), "and the desk goes on"
        return answer

    answer = at_desk(talk, work)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
    assert talk.failure is None


def test_what_is_not_served_and_what_is_too_much():
    async def work(client: Any, _: Any) -> list[Any]:
        embeddings = await client.post("embeddings", json={})
        large = await client.post("chat/completions", content=b" " * (LARGEST + 1))
        return [embeddings, large]

    assert [refused(answer) for answer in at_desk(talk_of(), work)] == [(404, "not_found"), (413, "request_too_large")]


def test_a_stream_says_what_an_answer_says():
    async def work(client: Any, _: Any) -> tuple[Any, list[Any]]:
        plain = (await asked(client, ASK)).json()
        body = {"messages": [ASK], "stream": True, "stream_options": {"include_usage": True}}
        async with client.stream("POST", "chat/completions", json=body) as answer:
            assert answer.headers["content-type"] == "text/event-stream"
            lines = [line.removeprefix("data: ") async for line in answer.aiter_lines() if line]
        assert lines.pop() == "[DONE]"
        return plain, [json.loads(line) for line in lines]

    plain, events = at_desk(talk_of(), work)
    assert "".join(e["choices"][0]["delta"].get("content", "") for e in events if e["choices"]) == plain["choices"][0]["message"]["content"]
    assert [e["choices"][0]["finish_reason"] for e in events if e["choices"]][-1] == plain["choices"][0]["finish_reason"]
    assert events[-1]["usage"] == plain["usage"]


class Slow(Script):
    """Draws when it is let."""

    let: asyncio.Event

    async def _written(self, *what: Any) -> Any:
        await self.let.wait()
        return await super()._written(*what)


def test_who_leaves_in_the_middle_finds_the_reply_when_they_ask_again():
    async def work(client: Any, desk: Any) -> Any:
        engine.let = asyncio.Event()
        _, writer = await asyncio.open_connection("127.0.0.1", desk.port)
        body = json.dumps({"messages": [ASK]}).encode()
        key = next(iter(desk.seats))
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\nContent-Length: %d\r\n\r\n"
            % (key.encode(), len(body))
        )
        writer.write(body)
        await writer.drain()
        while not engine.asked:
            await asyncio.sleep(0.01)
        writer.close()
        for begun in (
            b"",
            b"POST /v1/chat",
            b"\x16\x03\x01",
            b"GET / HTTP/1.1\r\n\r\n",
        ):  # and those who say half of something, or nonsense
            _, half = await asyncio.open_connection("127.0.0.1", desk.port)
            half.write(begun)
            await half.drain()
            half.close()
        engine.let.set()
        return said(await asked(client, ASK))

    engine = Slow()
    talk = talk_of(engine)
    answer = at_desk(talk, work)
    assert (engine.asked, len(talk.drawn)) == (1, 1)
    assert answer["content"] == talk.drawn[1].text


def test_two_at_once_are_both_answered_and_draw_what_they_draw_in_turn():
    questions = [user(text) for text in ("question", "one", "two", "three")]

    def rows(together: bool, backwards: bool = False) -> Any:
        talk = talk_of(Script(turned=backwards), rows=4)

        async def work(client: Any, _: Any) -> list[Any]:
            order = questions[::-1] if backwards else questions
            asking = [asked(client, question) for question in order]
            return [said(a) for a in (await asyncio.gather(*asking) if together else [await one for one in asking])]

        answers = at_desk(talk, work)
        assert talk.at_once == (4 if together else 1)
        return sorted((row.to_json() for row in talk.row_list()), key=str), sorted(a["content"] for a in answers)

    alone = rows(together=False)
    assert rows(together=True) == alone
    assert rows(together=True, backwards=True) == alone


def test_more_at_once_than_rows_are_kept_wait_for_each_other():
    engine = Script()
    talk = talk_of(engine, rows=1)

    async def work(client: Any, _: Any) -> None:
        firsts = await asyncio.gather(*(asked(client, user(f"q{i}")) for i in range(4)))
        await asyncio.gather(*(asked(client, user(f"q{i}"), said(first), user("on")) for i, first in enumerate(firsts)))

    at_desk(talk, work)
    assert len(talk.row_list()) == 4
    assert sum(line.warm for line in talk.lines) == 1


def test_no_turn_and_no_room_are_the_rollouts_own_ending():
    def ended(**how: Any) -> tuple[Any, Any]:
        talk = talk_of(**how)

        async def work(client: Any, _: Any) -> Any:
            messages, answer = [ASK], None
            for _ in range(9):
                answer = await asked(client, *messages)
                if answer.status_code != 200:
                    return refused(answer)
                messages += [said(answer), user("go on")]

        return at_desk(talk, work), talk

    why, talk = ended(turns=3)
    assert (why, talk.ended, len(talk.drawn)) == ((400, "turns"), "turns", 3)
    why, talk = ended(limit=40)
    assert (why, talk.ended) == ((400, "context_length_exceeded"), "length")
    assert all(len(row.tokens) <= 40 for row in talk.row_list())


def test_tools_are_told_and_calls_are_read_strictly():
    class Says(Letters):
        def text(self, tokens: Any) -> str:
            return next(texts)

    texts = iter(["I look\n>get a", ">get", ">get a", "done"])
    talk = talk_of(renderer=Says(), calls=Line())

    async def work(client: Any, _: Any) -> list[Any]:
        first = await asked(client, ASK, tools=[GET])
        call = said(first)["tool_calls"][0]
        again = json.loads(json.dumps(call).replace('\\"key\\": ', '\\"key\\":'))  # as other JSON writers write it
        told = {"role": "tool", "tool_call_id": call["id"], "content": "A"}
        second = await asked(client, ASK, {**said(first), "tool_calls": [again]}, told, tools=[GET])
        third = await asked(client, user("b"), tools=[GET])
        return [first.json(), second.json(), third.json()]

    first, second, third = at_desk(talk, work)
    (call,) = first["choices"][0]["message"]["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("get", {"key": "a"})
    assert (first["choices"][0]["message"]["content"], first["choices"][0]["finish_reason"]) == ("I look", "tool_calls")
    assert "tool_calls" not in second["choices"][0]["message"]
    assert second["choices"][0]["message"]["content"] == ">get"
    assert third["choices"][0]["finish_reason"] == "tool_calls"
    assert kinds(talk) == [["prompt", "action", "observation", "action"], ["prompt", "action"]]
    assert Letters().text(talk.row_list()[0].segments[0].tokens) == Letters().text(Letters().prompt(">get key\nquestion"))


def test_tools_without_a_way_to_write_calls_are_refused():
    assert refused(at_desk(talk_of(), lambda client, _: asked(client, ASK, tools=[GET]))) == (400, "tools")


def test_what_goes_wrong_on_our_side_is_said_and_kept():
    class Broken(Script):
        async def _written(self, *what: Any) -> Any:
            raise RuntimeError("no cache")

    talk = talk_of(Broken())
    assert refused(at_desk(talk, lambda client, _: asked(client, ASK))) == (500, "server_error")
    assert str(talk.failure) == "no cache"


@pytest.fixture(scope="module")
def pico() -> Any:
    from strop import pico

    return load(str(pico.path()))


def test_a_conversation_is_written_as_prompts_and_turns_are(pico):
    renderer = pico.renderer
    for text in ("1+2=?", "he said <|im_end|> and went"):
        assert renderer.conversation([("user", text)]) == renderer.prompt(text)
        assert renderer.turns([("user", text)]) == renderer.turn(text)
        assert renderer.conversation([("user", "a"), ("assistant", "b"), ("user", text)]) == renderer.prompt("a", "b", text)
    system = renderer.conversation([("system", "be short"), ("user", "a")])
    assert pico.tokenizer.decode(system).startswith("<|system|>be short<|im_end|><|user|>a")
    two = pico.tokenizer.decode(renderer.turns([("tool", "A"), ("user", "and?")]))
    assert two == "<|tool|>A<|im_end|><|user|>and?<|im_end|><|assistant|>"


def test_nodes_that_are_made_bare_go_on_counting():
    async def main() -> None:
        engine = Script()
        root = await engine.open((1, 2), root="r")
        node = await engine.generate(root, max=3)
        again = bare(node)
        assert again.row() == node.row()
        assert again.parent is not root
        assert (again.next(), node.next()) == ((0, 0, 0), (0, 0, 1))

    asyncio.run(main())
