"""The world of databases, over many domains from a seed: what is done is seen, and nothing else passes for it."""

import asyncio
import random
from collections import Counter
from itertools import permutations

import pytest

from strop.check.growing import of_world
from strop.records import Task
from strop.seams.world import Broken, Call, Said, Seat, verdict
from strop.worlds.calls import FORMATS, checked
from strop.worlds.database import (
    HELP,
    READS,
    WRITES,
    Database,
    Domain,
    Refused,
    applied,
    filled,
    form,
    made,
    paths,
    replayed,
    right,
    walked,
)

WORLD, SEAT = Database(), Seat("g", "g/0", 64)


def domain_of(number, side="train"):
    """All sizes, from the smallest to the largest."""
    rng = random.Random(f"domain {side} {number}")
    return made(rng, side, rng.randint(2, 4), rng.randint(6, 12), rng.choice((2, 3))), rng


def task_of(domain, data, calls, **more):
    needs = {"domain": domain.plain(), "data": data, "gold": [[n, dict(a)] for n, a in calls], "says": [], "until": [len(calls)], **more}
    return Task("", needs, "database")


def played(task, calls):
    """The last scores of an agent that makes these calls, a turn each, and says then that it is done."""
    said = [*(Said("", (Call(name, arguments),)) for name, arguments in calls), Said(".")]
    return asyncio.run(verdict(WORLD, task, SEAT, said))


def outcome(task, calls):
    return played(task, calls)["outcome"]


def alike(domain, one, other, fresh):
    """By brute force: whether some renaming of new rows makes the databases equal."""

    def rows(data, names):
        return {
            (table, names.get(key, key)): {
                c: names.get(v, v) if kind == "key" else v for (c, kind), v in zip(columns, row.values(), strict=True)
            }
            for table, columns in domain.tables
            for key, row in ((k, {c: data["rows"][table][k][c] for c, _ in columns}) for k in data["rows"][table])
        }

    ours, theirs = ([k for t in data["rows"].values() for k in t if k in fresh] for data in (one, other))
    if len(ours) != len(theirs):
        return False
    wanted = rows(other, {})
    return any(rows(one, dict(zip(ours, names, strict=True))) == wanted for names in permutations(theirs))


def any_call(rng, domain, data, verbs):
    """A call by chance that is good and, if it writes, changes something; None where there is none."""
    tools = [tool for tool in domain.operations if tool.verb in verbs]
    for _ in range(20 * bool(tools)):
        tool = rng.choice(tools)
        keys = {name: [*data["rows"][name]] for name, kind in domain.asks(tool).items() if kind == "key"}
        if all(keys.values()):
            values = {"text": rng.choice("abcdefgh"), "number": rng.randrange(10)}
            call = tool.name, {n: rng.choice(keys[n]) if kind == "key" else values[kind] for n, kind in domain.asks(tool).items()}
            try:
                if tool.verb in READS or applied(domain, data, *call)[0] != data:
                    return call
            except Refused:
                continue
    return None


def bent(rng, domain, data, call):
    """The call with one argument that is another, of the kind it should be; None where it has none to bend."""
    name, arguments = call
    asked = domain.asks(domain.tool(name))
    if not asked:
        return None
    field = rng.choice([*asked])
    others = {"text": "abcdefgh", "number": range(10), "key": [*data["rows"].get(field, ())]}[asked[field]]
    others = [value for value in others if value != arguments[field]]
    return (name, {**arguments, field: rng.choice(others)}) if others else None


def looked_at(numbers, walks=3):
    """Counts of what was tried over domains; each try is held to what must come of it."""
    tried = Counter()
    for number in numbers:
        domain, rng = domain_of(number)
        for length in rng.sample(range(2, 8), walks):
            data = filled(rng, domain)
            gold = list(walked(rng, domain, data, length).calls)
            task, fresh, end = task_of(domain, data, gold), data["fresh"], replayed(domain, data, gold)
            writes = any(domain.tool(name).verb in WRITES for name, _ in gold)
            tried["walks"] += 1
            tried["long"] += len(gold) > 2
            assert played(task, gold) == {"outcome": 1, "lenient": 1}
            assert outcome(task, []) == 0, "nothing was done"
            assert not right(task.needs, {**data, "rows": {table: {} for table in data["rows"]}}, []), "all is gone"
            drops = [(t.name, {t.table: key}) for t in domain.operations if t.verb == "drop" for key in data["rows"][t.table]]
            if drops:
                tried["all dropped"] += 1
                assert outcome(task, drops) == outcome(task, drops[::-1]) == 0
            if extra := any_call(rng, domain, end, WRITES):
                tried["extra writes"] += 1
                more = applied(domain, end, *extra)[0]
                assert outcome(task, [*gold, extra]) == (writes and alike(domain, more, end, fresh))
            if read := any_call(rng, domain, data, READS):
                tried["extra reads"] += 1
                assert outcome(task, [read, *gold]) == writes
                assert outcome(task, [read, *gold, read]) == writes
            place = rng.randrange(len(gold))
            if wrong := bent(rng, domain, data, gold[place]):
                calls = [*gold[:place], wrong, *gold[place + 1 :]]
                tried["wrong arguments"] += 1
                assert outcome(task, calls) == (writes and alike(domain, carried_out(domain, data, calls), end, fresh))
            for at in range(len(gold) - 1):
                swapped = [*gold[:at], gold[at + 1], gold[at], *gold[at + 2 :]]
                both = {domain.tool(name).verb for name, _ in gold[at : at + 2]} <= {*WRITES}
                if both and gold[at] != gold[at + 1] and alike(domain, carried_out(domain, data, swapped), end, fresh):
                    tried["commuted writes"] += 1
                    assert outcome(task, swapped) == 1
            if not writes:
                tried["read only"] += 1
                assert form(domain, data, fresh) == form(domain, end, fresh), "its state says nothing"
                assert outcome(task, gold[:-1]) == outcome(task, [*gold, gold[-1]]) == 0
    return tried


def carried_out(domain, data, calls):
    """What is left when those calls that come to nothing are passed over, as an agent's errors are."""
    for name, arguments in calls:
        try:
            data, _ = applied(domain, data, name, arguments)
        except Refused:
            continue
    return data


KINDS_OF_TRIES = ("all dropped", "extra writes", "extra reads", "wrong arguments", "commuted writes", "read only", "long")


def test_over_domains_gold_is_right_and_nothing_else_passes_for_it():
    tried = looked_at(range(24))
    assert tried["walks"] == 72
    assert all(tried[kind] > 3 for kind in KINDS_OF_TRIES), tried


@pytest.mark.slow
def test_over_a_thousand_domains_gold_is_right_and_nothing_else_passes_for_it():
    tried = looked_at(range(1000), walks=1)
    print(dict(tried))
    assert all(tried[kind] > 100 for kind in KINDS_OF_TRIES), tried


def test_new_rows_have_no_names_of_their_own():
    """Two new rows made in the other order are the same two rows, also where a third one leads to one of them."""
    domain = Domain.of(
        [
            [["fo", [["ka", "number"]]], ["ba", [["lo", "text"], ["fo", "key"]]]],
            [["nf", "new", "fo", ["ka"], "new"], ["nb", "new", "ba", ["lo", "fo"], "new"], ["mv", "move", "ba", ["fo"], "move"]],
        ]
    )
    data = {"rows": {"fo": {"a": {"ka": 1}}, "ba": {"b": {"lo": "x", "fo": "a"}}}, "fresh": ["p", "q", "r", "s"]}
    gold = [("nf", {"ka": 3}), ("nf", {"ka": 4}), ("nb", {"lo": "y", "fo": "p"}), ("mv", {"ba": "b", "fo": "q"})]
    turned = [("nf", {"ka": 4}), ("nf", {"ka": 3}), ("mv", {"ba": "b", "fo": "p"}), ("nb", {"lo": "y", "fo": "q"})]
    task = task_of(domain, data, gold)
    assert outcome(task, gold) == outcome(task, turned) == 1
    crossed = [*turned[:2], ("mv", {"ba": "b", "fo": "q"}), ("nb", {"lo": "y", "fo": "p"})]
    assert outcome(task, crossed) == 0, "they lead to the wrong one of the two"
    assert outcome(task, gold[:1] * 2 + gold[2:3]) == 0


def test_forms_are_equal_exactly_where_some_renaming_makes_databases_so():
    equal = 0
    for number in range(30):
        domain, rng = domain_of(number)
        data = filled(rng, domain)
        pool = [call for _ in range(3) if (call := any_call(rng, domain, data, WRITES))]
        ends = [carried_out(domain, data, order) for order in permutations(pool)]
        for one in ends:
            for other in ends:
                same = form(domain, one, data["fresh"]) == form(domain, other, data["fresh"])
                assert same == alike(domain, one, other, data["fresh"])
                equal += same and one["rows"] != other["rows"]
    assert equal > 5, "some are equal and not the same"


def test_errors_are_answers_and_change_nothing():
    domain, rng = domain_of(0)
    data = filled(rng, domain)
    gold = walked(rng, domain, data, 3).calls
    task = task_of(domain, data, gold)
    state = WORLD.start(task, SEAT)
    named = next(tool for tool in domain.operations if "key" in domain.asks(tool).values() and tool.verb != "new")
    lost = next(key for key in "abcdefghijklmnopqrstuvwxyz" if all(key not in rows for rows in data["rows"].values()))
    values = {"key": lost, "text": "a", "number": 1}
    call = Call(named.name, {field: values[kind] for field, kind in domain.asks(named).items()})
    after, reply = asyncio.run(WORLD.reply(state, Said("", (call, Broken("no JSON"))), {}))
    assert reply.observation.split("\n")[1] == "error: no JSON"
    assert reply.observation.startswith("error: no ")
    assert [(c.tool, c.ok) for c in reply.calls] == [(named.name, False), ("", False)]
    assert after["data"] == data
    assert played(task, gold)["outcome"] == 1
    said = [Said("", (call,)), *(Said("", (Call(*one),)) for one in gold), Said("")]
    assert asyncio.run(verdict(WORLD, task, SEAT, said))["outcome"] == 1, "an error on the way is no fault"


def test_who_does_not_say_that_it_is_done_has_not_done_it():
    domain, rng = domain_of(1)
    data = filled(rng, domain)
    gold = walked(rng, domain, data, 2).calls
    said = [Said("", tuple(Call(*one) for one in gold))]
    assert asyncio.run(verdict(WORLD, task_of(domain, data, gold), SEAT, said)) == {"outcome": 0, "lenient": 1}


def test_a_user_tells_the_rest_once_the_first_is_done():
    domain, rng = domain_of(2)
    data = filled(rng, domain)
    walk = next(walk for walk in (walked(rng, domain, data, 3) for _ in range(50)) if len(walk.calls) == 3)
    task = task_of(domain, data, walk.calls, says=[walk.says[1], walk.says[2]], until=[1, 2, 3])
    state, heard = WORLD.start(task, SEAT), []
    for _ in range(6):
        said = WORLD.expert(state)
        state, reply = asyncio.run(WORLD.reply(state, Said(".") if said == "." else Said("", (said,)), {}))
        heard.append(reply.observation)
    assert heard[1::2] == [walk.says[1], walk.says[2], ""]
    assert reply.done
    assert reply.scores["outcome"] == 1


@pytest.mark.parametrize("name", [n for n in FORMATS if n != "code"])
def test_every_call_of_a_walk_is_written_and_read_by_every_format(name):
    how = FORMATS[name]()
    for number in range(5):
        domain, rng = domain_of(number)
        for tool, arguments in walked(rng, domain, filled(rng, domain), 4).calls:
            call = Call(tool, arguments)
            if hasattr(how, "written"):
                assert how.read(how.written(call), domain.tools()) == (call,)
            assert checked(tool, dict(arguments), domain.tools()) == call


def test_a_whole_number_with_a_point_is_that_number_and_a_line_break_is_in_no_argument():
    domain = Domain.of([[["fo", [["ka", "number"], ["lo", "text"]]]], [["nf", "new", "fo", ["ka", "lo"], "new"]]])
    data = {"rows": {"fo": {}}, "fresh": ["p"]}
    task = task_of(domain, data, [("nf", {"ka": 3, "lo": "a"})])
    assert outcome(task, [("nf", {"ka": 3.0, "lo": "a"})]) == 1
    for wrong in ({"ka": 3, "lo": "a\n"}, {"ka": True, "lo": "a"}, {"ka": 3.5, "lo": "a"}, {"ka": "3", "lo": "a"}, {"ka": 3}):
        with pytest.raises(ValueError, match="nf"):
            checked("nf", wrong, domain.tools())


def test_a_row_that_another_leads_to_is_not_dropped_and_a_full_database_takes_no_more():
    domain = Domain.of(
        [[["fo", [["ka", "number"]]], ["ba", [["fo", "key"]]]], [["df", "drop", "fo", [], "drop"], ["nf", "new", "fo", ["ka"], "new"]]]
    )
    data = {"rows": {"fo": {"a": {"ka": 1}, "c": {"ka": 2}}, "ba": {"b": {"fo": "a"}}}, "fresh": []}
    with pytest.raises(Refused, match="fo a is in use"):
        applied(domain, data, "df", {"fo": "a"})
    with pytest.raises(Refused, match="no room"):
        applied(domain, data, "nf", {"ka": 1})
    assert applied(domain, data, "df", {"fo": "c"})[1] == []


def test_a_domain_has_a_path_over_three_tools_and_is_its_seed_s_alone():
    for number in range(20):
        domain, _ = domain_of(number)
        assert paths(domain.depends(), 3)
        assert all(name not in others for name, others in domain.depends().items())
        assert domain == domain_of(number)[0]
        assert Domain.of(domain.plain()) == domain
    with pytest.raises(ValueError, match="no domain of 2 tables has 1 tools"):
        made(random.Random(0), "train", 2, 1)


def test_the_exam_of_worlds_finds_nothing():
    domain, rng = domain_of(3)
    data = filled(rng, domain)
    assert of_world(WORLD, task_of(domain, data, walked(rng, domain, data, 3).calls)) == []


def test_a_tool_s_line_is_told_to_who_asks_by_its_verb_and_asking_is_no_call_of_the_task():
    domain, rng = domain_of(4)
    data = filled(rng, domain)
    gold = walked(rng, domain, data, 3).calls
    task = task_of(domain, data, gold, helps=1)
    assert [tool.name for tool in WORLD.documents(task)] == [HELP]
    assert [tool.name for tool in WORLD.tools(task)] == [HELP, *(tool.name for tool in domain.operations)]
    state, heard = WORLD.start(task, SEAT), []
    while (said := WORLD.expert(state)) != ".":
        state, reply = asyncio.run(WORLD.reply(state, Said("", (said,)), {}))
        heard += [(said, reply.observation)] if said.tool == HELP else []
    for said, line in heard:
        assert line.split("\n") == [" ".join((t.name, *domain.asks(t))) for t in domain.said(said.arguments["verb"])]
    verbs = [domain.tool(name).says.partition(" ")[0] for name, _ in gold]
    assert [said.arguments["verb"] for said, _ in heard] == [*dict.fromkeys(verbs)], "once each"
    assert asyncio.run(WORLD.reply(state, Said("."), {}))[1].scores["outcome"] == 1
    with pytest.raises(ValueError, match="help"):
        checked(HELP, {"verb": "eat"}, WORLD.tools(task))
