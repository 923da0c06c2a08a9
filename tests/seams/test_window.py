"""Episodes and their windows: everything kept is Independent, what is forgotten is in no row, and each action is trained once."""

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from strop.batch import pack
from strop.check.growing import END, Letters, Room, Script, of_behaviour
from strop.engines.embedded import EmbeddedEngine
from strop.methods.grpo import GRPO
from strop.policies.causal import load
from strop.policies.chat import Chat, ModelError
from strop.records import Task
from strop.seams.context import Ctx, Handle, Progress
from strop.seams.episode import CUT, Between, Episodes, Played
from strop.seams.sampler import Independent, grown
from strop.seams.window import Afresh, Append, By, Own, Pruned, Recent, Report, Spent, Summarised, filled
from strop.seams.world import Broken, Call, Reply, Said, Seat, Tool, verdict
from strop.worlds.calls import Hermes, Line

TASK = Task("question", {}, "rooms")
HOW = Episodes(n=3, turns=5, max_tokens=6, observation=9)
FORGET = [Append(), Recent(), Pruned(after=1), Summarised(By("other", most=4), says="{}{}")]


def ctx_of(engine: Any, renderer: Any = None, place: str = "task#0", **others: Any) -> Ctx:
    handles = {"actor": Handle(engine, renderer or Letters())} | {name: Handle(one, Letters()) for name, one in others.items()}
    nobody: Any = None  # these samplers ask neither a source nor a grader
    return Ctx(0, Progress(0, 4), nobody, handles, nobody, place=place)


def lived(sampler: Any, limit: int = 1 << 20, world: Any = Room(), **others: Any) -> Any:
    engine = Script()
    engine.limit = limit
    (group,) = asyncio.run(sampler(TASK, world, ctx_of(engine, other=Script(name="other"), **others)))
    return group


def texts(row: Any) -> list[tuple[str, str]]:
    return [(s.kind, Letters().text(s.tokens)) for s in row.segments]


def test_episodes_of_which_everything_stays_are_independent_rollouts():
    assert lived(HOW) == lived(Independent(n=3, turns=5, max_tokens=6, observation=9))


def test_actions_that_had_no_room_are_told_by_their_turns():
    for rollout in lived(replace(HOW, n=6)).rollouts:
        (row,) = rollout.rows
        tokens = [s.tokens for s in row.segments if s.kind == "action"]
        assert rollout.keys.get("cut", []) == [n for n, one in enumerate(tokens) if one[-1] != END]
        assert any(one[-1] != END for one in tokens)


@pytest.mark.parametrize("window", [*FORGET, Spent()], ids=lambda w: type(w).__name__)
def test_with_room_enough_a_window_changes_nothing(window):
    assert lived(replace(HOW, window=window)) == lived(HOW)


@pytest.mark.parametrize("window", [*FORGET, Report(), Afresh()], ids=lambda w: type(w).__name__)
@pytest.mark.parametrize("limit", [40, 60, 80])
def test_no_row_is_longer_than_it_may_be_and_each_action_is_trained_once(window, limit):
    group = lived(replace(HOW, turns=9, window=replace(window, limit=limit) if hasattr(window, "limit") else window), limit)
    ids = [s.id for r in group.rollouts for row in r.rows for s in row.segments if s.id in row.trains]
    said = {s.id for r in group.rollouts for row in r.rows for s in row.segments if s.kind == "action"}
    assert len(ids) == len(set(ids))
    assert set(ids) == said
    for rollout in group.rollouts:
        assert all(len(row.tokens) <= limit for row in rollout.rows)
        assert rollout.stop in ("turns", "length")
    if not isinstance(window, Append):
        assert any(len(r.rows) > 1 for r in group.rollouts), "nothing was forgotten"


def test_what_a_row_repeats_is_context_and_its_own_context_is_what_it_was_drawn_under():
    (rollout,) = lived(replace(HOW, n=1, turns=5, window=Recent(tokens=16)), 56).rollouts
    first, second = rollout.rows[:2]
    assert first.trains == {s.id for s in first.segments if s.kind == "action"}
    held = [s for s in second.segments if s.kind == "action"]
    assert held[0].id in first.trains
    assert held[0].id not in second.trains
    assert held[0].logp is None, "nobody drew it there"
    assert held[1].id in second.trains


def test_pruned_answers_give_way_to_a_mark_and_the_last_ones_stay():
    (rollout,) = lived(replace(HOW, n=1, turns=6, window=Pruned(after=1, mark="z")), 50).rollouts
    answers = [text for kind, text in texts(rollout.rows[1]) if kind == "observation"]
    shown = Letters().text(Letters().turn("abcdefgh"))
    kept = answers.index(shown)
    assert answers == [Letters().text(Letters().turn("z"))] * kept + [shown] * (len(answers) - kept)
    assert kept > 0


@dataclass(frozen=True)
class Told:
    """A format in which every other action calls the tool."""

    tool: str = "write"

    def shown(self, tools: Any) -> str:
        return ""

    def written(self, call: Call) -> str:
        return call.tool

    def read(self, text: str, tools: Any) -> tuple[Call | Broken, ...]:
        return (Call(self.tool),) if len(text) % 2 else (Broken(self.tool),)


def test_answers_before_a_call_of_the_tool_are_spent_and_others_stay():
    group = lived(replace(HOW, n=6, turns=6, window=Spent(mark="z"), calls=Told()))
    shown, mark = (Letters().text(Letters().turn(text)) for text in ("abcdefgh", "z"))
    for rollout in group.rollouts:
        said = [Letters().text(s.tokens) for row in rollout.rows for s in row.segments if s.id in row.trains]
        calls = [turn for turn, text in enumerate(said[:-1]) if len(text) % 2]
        assert len(rollout.rows) == 1 + len(calls)
        for row, turn in zip(rollout.rows[1:], calls, strict=True):
            answers = [text for kind, text in texts(row) if kind == "observation"]
            assert answers[: turn + 1] == [mark] * turn + [shown], "of the call itself the answer stays"
            assert {*answers[turn + 1 :]} <= {shown}
    assert len({len(rollout.rows) for rollout in group.rollouts}) > 1
    other = replace(HOW, n=6, turns=6, calls=Told("read"))
    assert lived(replace(other, window=Spent())) == lived(other), "another tool leaves the row as it is"


def test_where_a_row_begun_anew_has_no_room_the_rollout_ends():
    ends = lived(replace(HOW, n=6, turns=6, window=Spent(mark="z" * 20, limit=60), calls=Told())).rollouts
    assert {rollout.stop for rollout in ends} == {"length"}
    assert all(len(row.tokens) <= 60 for rollout in ends for row in rollout.rows)


def test_a_summary_of_the_actors_own_ends_the_row_and_is_trained_in_it():
    (rollout,) = lived(replace(HOW, n=1, turns=4, window=Summarised(Own(most=5, ask="s"), says="{}{}")), 60).rollouts
    closed, follows = rollout.rows[0], rollout.rows[1]
    *_, asked, summary = closed.segments
    assert Letters().text(asked.tokens) == Letters().text(Letters().turn("abcdefgh\ns"))
    assert summary.id in closed.trains
    begins = Letters().text(follows.segments[0].tokens)
    assert begins == Letters().text(Letters().prompt("question" + Letters().text(summary.tokens)))
    assert Letters().text(summary.tokens) not in rollout.text, "what is said to oneself is no reply"


def test_another_policys_summary_is_input_and_on_its_own_bill():
    other = Script(name="other")
    engine = Script()
    engine.limit = 50
    how = replace(HOW, n=1, turns=4, window=Summarised(By("other", most=5), says="{}{}"))
    (group,) = asyncio.run(how(TASK, Room(), ctx_of(engine, other=other)))
    assert other.asked == len(group.rollouts[0].rows) - 1 > 0
    assert {s.author.policy for row in group.rollouts[0].rows for s in row.segments if s.id in row.trains} == {"actor"}
    assert how.policy == "other"


def test_a_report_is_carried_and_an_unclosed_one_leaves_the_former():
    said = ("<report>one</report>", "<report>two", "<report>three</report>", "")
    played = Played(lambda state, turn: said[turn], replace(HOW, n=1, turns=4, max_tokens=40, window=Report(most=3, says="{};{};{}")))
    (group,) = asyncio.run(played(TASK, Room(), ctx_of(Script(), Plain())))
    rows = [Plain().text(row.segments[0].tokens) for row in group.rollouts[0].rows]
    assert rows == ["question", "question;one;abcdefgh", "question;one;abcdefgh", "question;thr;abcdefgh"]


class Plain(Letters):
    """Gives text back as it was."""

    def prompt(self, text: str, *more: str) -> tuple[int, ...]:
        return tuple(map(ord, text))

    turn = reply = plain = prompt

    def text(self, tokens: Any) -> str:
        return "".join(map(chr, tokens))


FORGETS = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content[:2] if m.role == 'assistant' else m.content }}<|im_end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""A template that keeps two letters of earlier replies."""


def test_where_a_template_rewrites_the_past_each_turn_is_a_row_and_a_long_answer_is_cut_there_too():
    policy = load("pico", chat=Chat.of("", "", FORGETS))
    said = ("one", "two")
    how = replace(HOW, n=1, turns=2, observation=12)
    with pytest.raises(ModelError, match="rewrites earlier turns"):
        asyncio.run(Played(lambda state, turn: said[turn], how)(TASK, Room("x" * 40), ctx_of(Script(), policy.renderer)))
    played = Played(lambda state, turn: said[turn], replace(how, window=Afresh()))
    (group,) = asyncio.run(played(TASK, Room("x" * 40), ctx_of(Script(), policy.renderer)))
    first, second = (policy.renderer.text(row.segments[0].tokens) for row in group.rollouts[0].rows)
    assert first == "<|user|>question<|im_end|><|assistant|>"
    assert second == f"<|user|>question<|im_end|><|assistant|>on<|im_end|><|user|>{'x' * (12 - len(CUT))}{CUT}<|im_end|><|assistant|>"


def test_a_long_answer_is_cut_and_says_so():
    (rollout,) = lived(replace(HOW, n=1, observation=12), world=Room("x" * 40)).rollouts
    assert rollout.text.split("\n")[1] == "x" * (12 - len(CUT)) + CUT


@pytest.mark.parametrize("per", ["group", "rollout"])
def test_turns_by_chance_are_the_groups_or_each_rollouts_own(per):
    how = Episodes(n=12, turns=Between(1, 6, per=per, says=" {} turns"), max_tokens=2, observation=9)
    group = lived(how)
    assert group == lived(how), "keyed"
    counts = [len(r.keys["facts"]) for r in group.rollouts]
    assert (len(set(counts)) == 1) is (per == "group")
    opened = [Letters().prompt(f"question\n {count} turns") for count in counts]
    assert [r.rows[0].segments[0].tokens for r in group.rollouts] == opened


@dataclass(frozen=True)
class Dice:
    """Throws of its own and of the table's; the third ends it with the sum as its score."""

    def start(self, task: Any, seat: Seat) -> Any:
        return {"own": seat.rng("dice").randrange(1000), "table": seat.shared("dice").randrange(1000), "said": 0}

    async def reply(self, state: Any, said: Said, ask: Any) -> Any:
        after = {**state, "said": state["said"] + 1}
        thrown = f"{state['own']} {state['table']}"
        if after["said"] < 3:
            return after, Reply(thrown)
        return after, Reply("", done=True, scores={"outcome": float("a" in said.text), "own": float(state["own"])})


def test_siblings_share_the_tables_noise_and_a_verdict_follows_again_from_what_was_said():
    group = lived(Episodes(n=4, turns=4, max_tokens=6, observation=30), world=Dice())
    throws = [r.text.split("\n")[1].split() for r in group.rollouts]
    assert len({own for own, _ in throws}) == 4
    assert len({table for _, table in throws}) == 1
    for rollout in group.rollouts:
        group_key, own, turns = rollout.keys["seat"]
        said = [Said(text) for text in rollout.keys["said"]]
        assert asyncio.run(verdict(Dice(), TASK, Seat(group_key, own, turns), said)) == rollout.keys["scores"]
        assert asyncio.run(verdict(Dice(), TASK, Seat(group_key, own, turns), said[:2])) == {}, "not over yet"


def test_what_holds_no_prompt_is_refused():
    with pytest.raises(ValueError, match="holds no prompt beside an answer of 9 and an action of 6"):
        replace(HOW, window=Recent(limit=15))
    with pytest.raises(ValueError, match="from at least 1 to as many"):
        Between(3, 2)
    with pytest.raises(ValueError, match="group or rollout"):
        Between(1, 2, per="row")
    with pytest.raises(ValueError, match="needs a world that answers"):
        lived(HOW, world=None)


@pytest.mark.parametrize("window", [*FORGET[:3], Summarised(Own(most=8, ask="sum?"))], ids=lambda w: type(w).__name__)
def test_a_real_engine_records_what_the_learner_says_of_every_row(window):
    policy = load("pico")
    limit = len(policy.renderer.prompt("1+2=?")) + 60
    how = Episodes(n=2, turns=5, max_tokens=12, observation=14, window=replace(window, limit=limit) if hasattr(window, "limit") else window)
    engine = EmbeddedEngine(policy.model, policy.tokenizer, eos_ids=policy.eos, seed=3)
    engine.begin(0)
    (group,) = asyncio.run(how(Task("1+2=?", {}, "x"), Room("no"), ctx_of(engine, policy.renderer)))
    batch = pack([group], {}, {r.id: float(i) for i, r in enumerate(group.rollouts)}, 0)
    with torch.no_grad():
        logp_T = policy.evaluate(batch)["logp_T"]
    drawn_T = batch.trains_T
    assert (logp_T - batch.tracks["sampled_logp_T"])[drawn_T].abs().max() < 1e-4
    assert batch.tracks["sampled_logp_T"][~drawn_T].isnan().all()
    if len(group.rollouts[0].rows) > 1:
        assert int((~drawn_T).sum()) == sum(
            len(s.tokens) for r in group.rollouts for row in r.rows for s in row.segments if s.kind == "action" and s.id not in row.trains
        )


@dataclass(frozen=True)
class Noted:
    """A summary by nobody, each of its own."""

    async def __call__(self, node: Any, past: Any, ctx: Any) -> Any:
        return node, f"{past.place} {len(past.turns)}"


def test_a_restart_computes_its_new_prompt_and_nothing_again():
    policy = load("pico")
    limit = len(policy.renderer.prompt("1+2=?")) + 60
    engine = EmbeddedEngine(policy.model, policy.tokenizer, eos_ids=(), seed=3)
    engine.begin(0)
    how = Episodes(n=3, turns=5, max_tokens=12, observation=14, window=Summarised(Noted(), limit=limit))
    (group,) = asyncio.run(how(Task("1+2=?", {}, "x"), Room("no"), ctx_of(engine, policy.renderer)))
    rows = [row for rollout in group.rollouts for row in rollout.rows]
    assert len(rows) > 3, "some begin anew"
    openings = {row.segments[0].tokens for row in rows}
    answers = sum(len(s.tokens) for row in rows for s in row.segments if s.kind == "observation")
    assert (engine.counters.prefilled, engine.counters.recomputed) == (sum(map(len, openings)) + answers, 0)


def test_strop_check_finds_a_window_that_forgets_to_forget():
    @dataclass(frozen=True)
    class Longer:
        async def next(self, node: Any, past: Any, ctx: Any) -> Any:
            return (await ctx.policies["actor"].extend(node, past.shown + "!"),)

    method = GRPO.but("mine", idea=("sampler", "environment"), sampler=replace(HOW, window=Longer()), environment=Room())
    said = [str(found) for found in of_behaviour(method, everything=True) if "window" in str(found)]
    assert any("with room enough it gives other rows than Append()" in line for line in said), said
    kept = [found for found in of_behaviour(method.but(sampler=replace(HOW, window=Recent())), everything=True) if "window" in str(found)]
    assert [found.fine for found in kept] == [True]


def test_a_text_is_put_where_it_belongs_whatever_it_holds():
    assert filled("{} and {}", "{}", "{}{}") == "{} and {}{}"


@dataclass(frozen=True)
class Shelf(Room):
    """A world of many words about its tools."""

    tools: tuple[Tool, ...] = (Tool("get", "x" * 400),)


def test_room_is_kept_for_what_is_told_of_the_tools():
    policy = load("pico")
    how = Episodes(n=2, turns=3, max_tokens=8, observation=16, calls=Line())
    engine = EmbeddedEngine(policy.model, policy.tokenizer, eos_ids=policy.eos, seed=3)
    engine.begin(0)
    told = replace(how, calls=Hermes())
    assert len(policy.renderer.prompt(told.opening(TASK, Shelf()))) > 400
    (group,) = asyncio.run(grown(told, TASK, Shelf(), ctx_of(engine, policy.renderer)))
    assert len(group.rollouts[0].rows[0].segments[0].tokens) > 400
