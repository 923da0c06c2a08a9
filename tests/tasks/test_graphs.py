"""Questions cut out of graphs: one answer by brute force, no two alike, roles asked for evenly, nothing left where a bridge is cut."""

import asyncio
import random
from collections import Counter
from itertools import pairwise, permutations

import networkx as nx
import pytest

from strop.check.sources import of_source
from strop.records import Task
from strop.seams.world import Broken, Call, Said, Seat
from strop.tasks import graphs, source
from strop.tasks.graphs import Graphs, closes_on, likeness, roles, shape, sides
from strop.worlds.graphs import Graph, Step, answers, asked, fits, graph_of, read, solved, written
from strop.worlds.graphs import Graphs as Looks

SQUARE = Graph({"a": "1", "b": "5", "c": "2", "d": "5", "e": "2"}, ["ab", "bc", "cd", "da", "de"])
"""a-b-c-d-a, and e hangs on d."""


def brute(walk, graph):
    """The answers by every sequence of different nodes, from links and kinds alone."""
    nodes = walk[:-1] if closes_on(walk) >= 0 else walk
    links = {frozenset(link) for link in graph.links}
    found = set()
    for path in permutations(graph.kinds, len(nodes)):
        whole = (*path, path[closes_on(walk)]) if closes_on(walk) >= 0 else path
        if (
            path[0] == walk[0].clue
            and all(fits(step.clue, name, graph.kinds[name]) for step, name in zip(nodes[1:], path[1:], strict=True))
            and all(frozenset(pair) in links for pair in pairwise(whole))
        ):
            found.add(path[asked(walk)])
    return found


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("a*5?", "bd"), ("a5*2?", "ce"), ("a+*-+a?", "c"), ("a.*-?", "ce"), ("a*.2.a?", "bd"), ("d*2?", "ce"), ("e5*1?", "a"), ("a9*1?", "")],
)
def test_answers_by_hand(text, wanted):
    assert answers(read(text), SQUARE.look) == brute(read(text), SQUARE) == {*wanted}
    assert written(read(text)) == text


def test_a_walk_may_close_on_another_node_than_its_first():
    walk = read("e5*.52^1?")
    assert walk[-1] == Step("^1")
    assert closes_on(walk) == 1
    assert answers(walk, SQUARE.look) == {"a"}
    assert roles(5, back=1) == [[1], [2, 4], [3]]
    assert [written(one) for one in sides(walk)] == ["e5*.52?", "e525*.?"]
    assert sides(read("a5*2?")) == ()


@pytest.mark.parametrize(
    ("where", "small"), [(Graphs(nodes=20), True), (Graphs(nodes=20, tree=1, closed=0.0), True), (Graphs(nodes=27), False)]
)
def test_nodes_are_small_letters_as_far_as_those_go(where, small):
    """A tree of 20 has 26."""
    names = [*where.grown(random.Random(0)).kinds]
    assert len({*names}) == len(names) == (26 if where.tree else where.nodes)
    assert "".join(names).islower() == small


SPECS = ["graphs", "graphs:tree=1,closed=0.0", "graphs:least=4,most=4,blur=1,sided=1,each=2", "graphs:blur=0,closed=1.0,each=1"]


@pytest.mark.parametrize("name", SPECS)
def test_every_question_has_one_answer_of_the_shape_that_was_asked_for(name):
    where = source(name)
    for index in range(16):
        task = where.task("train", 1, index)
        graph, walk = graph_of(task), read(task.prompt)
        assert written(walk) == task.prompt
        assert answers(walk, graph.look) == {task.needs["answer"]}
        assert where.least <= len(walk) - 1 <= where.most
        assert len(graph.links) == round(where.nodes * 2.5 / 2)
        drawn = nx.Graph(tuple(link) for link in graph.links)
        assert nx.is_connected(drawn)
        assert nx.is_tree(drawn) == bool(where.tree)
        assert len(graph.kinds) == len(graph.links) + 1 if where.tree else len(graph.kinds) == where.nodes
        assert where.grade(task, where.gold(task))["outcome"] == 1
        if where.sided:
            assert all(len(answers(one, graph.look)) > 1 for one in sides(walk))


def test_a_question_s_answers_are_those_of_brute_force():
    where = Graphs(nodes=10, least=3, most=4, closed=0.5, each=1)
    for index in range(12):
        task = where.task("train", 0, index)
        assert brute(read(task.prompt), graph_of(task)) == {task.needs["answer"]}


def told(task):
    """The walk of a question, drawn: its nodes by what is told of them, and its links."""
    walk = read(task.prompt)
    back = closes_on(walk)
    drawn = nx.Graph()
    for number, step in enumerate(walk[:-1] if back >= 0 else walk):
        drawn.add_node(number, label=f"{step.clue if number else 'named'} {step.asked}")
    drawn.add_edges_from((one, other) for one, beside in shape(len(walk) - 1, back).items() for other in beside)
    return drawn


def test_no_two_questions_of_a_graph_have_one_weisfeiler_leman_hash():
    where = source("graphs:each=8,blur=1")
    for number in range(2):
        tasks = [where.task("train", 2, 8 * number + place) for place in range(8)]
        assert len({task.meta["where"] for task in tasks}) == 1
        hashes = {nx.weisfeiler_lehman_graph_hash(told(task), node_attr="label", iterations=8) for task in tasks}
        assert len(hashes) == 8
        assert len({likeness(read(task.prompt)) for task in tasks}) == 8


@pytest.mark.parametrize("steps", range(3, 8))
def test_roles_are_the_orbits_of_the_shape(steps):
    for back in range(-1, steps - 2):
        drawn = nx.Graph((one, other) for one, beside in shape(steps, back).items() for other in beside)
        nx.set_node_attributes(drawn, {node: node == 0 for node in drawn}, "named")
        matcher = nx.isomorphism.GraphMatcher(drawn, drawn, node_match=lambda a, b: a == b)
        same = [*matcher.isomorphisms_iter()]
        orbits = {frozenset(one[node] for one in same) for node in drawn if node}
        assert {frozenset(role) for role in roles(steps, back)} == orbits


def test_every_role_of_a_shape_is_asked_for_as_often():
    where, counts = Graphs(least=4, most=5, each=1, blur=0), Counter()
    for index in range(400):
        walk = read(where.task("train", 4, index).prompt)
        at, form = asked(walk), (len(walk) - 1, closes_on(walk))
        counts[(*form, next(number for number, role in enumerate(roles(*form)) if at in role))] += 1
    for form in {key[:2] for key in counts}:
        found = [counts[(*form, role)] for role in range(len(roles(*form)))]
        even = sum(found) / len(found)
        square = sum((count - even) ** 2 / even for count in found)
        assert square < [0, 10.8, 13.8, 16.3, 18.5][len(found) - 1], f"{form}: {found}"  # one in a thousand, by degrees of freedom


def test_a_question_that_crosses_a_bridge_has_no_answer_once_it_is_cut():
    where, crossed = source("graphs"), 0
    for index in range(40):
        task = where.task("train", 5, index)
        graph, walk = graph_of(task), read(task.prompt)
        for bridge in nx.bridges(nx.Graph(tuple(link) for link in graph.links)):
            without = graph.without("".join(bridge))
            parts = nx.Graph(tuple(link) for link in without.links)
            parts.add_nodes_from(graph.kinds)
            if task.needs["answer"] not in nx.node_connected_component(parts, walk[0].clue):
                crossed += 1
                assert answers(walk, without.look) == set()
    assert crossed > 10


def test_where_no_walk_has_one_answer_it_is_refused_with_counts(monkeypatch):
    monkeypatch.setattr(graphs, "TRIES", 300)
    with pytest.raises(ValueError, match=r"graphs:.*none of 3\d\d walks is a question with one answer: \d+ have.*Ask for more kinds"):
        Graphs(nodes=40, kinds=1, closed=0.0, least=8, most=8, each=16, tree=1).asked(random.Random(0))


def test_held_out_questions_are_of_both_kinds_whatever_is_trained_on():
    knobs = ("closed=0.5", "closed=0.0,tree=1", "closed=0.0")
    kinds = [source(f"graphs:least=4,most=4,blur=1,both=1,each=1,{one}") for one in knobs]
    held = [[one.task("test", 3, index) for index in range(6)] for one in kinds]
    assert held[0] == held[1] == held[2]
    assert [task.needs["closed"] for task in held[0]] == [1, 0] * 3
    assert [len(task.needs["links"]) - len(task.needs["kinds"]) for task in held[0]] == [8, -1] * 3
    assert {task.needs["closed"] for one in kinds[1:] for task in (one.task("train", 3, i) for i in range(10))} == {0}
    train = {task.meta["where"] for one in kinds for task in (one.task("train", 3, i) for i in range(10))}
    assert not train & {task.meta["where"] for task in held[0]}


@pytest.mark.parametrize(
    ("knobs", "why"),
    [
        ({"tree": 1}, "no walk closes in a tree"),
        ({"least": 2}, "least"),
        ({"most": 3}, "most"),
        ({"blur": 3}, "blur"),
        ({"nodes": 41}, "nodes"),
    ],
)
def test_knobs_that_make_no_question_are_refused(knobs, why):
    with pytest.raises(ValueError, match=why):
        Graphs(**knobs)


def test_the_source_passes_its_exam():
    assert [finding.fine for finding in of_source(Graphs(nodes=12, least=3, most=4, blur=1, each=1))] == [True]


@pytest.mark.parametrize(
    ("text", "outcome", "lenient"),
    [
        ("<answer>a</answer>", 1, 1),
        (">get bc\na\n<answer>a</answer>", 1, 1),
        ("<answer>b</answer>", 0, 0),
        ("<answer>a", 0, 1),
        ("<answer>ab</answer>", 0, 0),
        ("a", 0, 1),
        (">get ab", 0, 0),
        ("", 0, 0),
    ],
)
def test_the_answer_is_the_letter_of_the_last_tag(text, outcome, lenient):
    task = Task("a*5?", {"kinds": {}, "links": [], "answer": "a", "closed": 1}, "graphs")
    assert Graphs().grade(task, text) == {"outcome": outcome, "lenient": lenient, "closed": outcome}


# ------------------------------------------------------------------------------------------------ the world


def heard(text, *said):
    """What is answered to each action, and how its calls fared."""

    async def go():
        world, told = Looks(), []
        state = world.start(Task(text, {"kinds": SQUARE.kinds, "links": SQUARE.links}, "graphs"), Seat("", ""))
        for one in said:
            state, reply = await world.reply(state, one, {})
            told.append((reply.observation, [called.ok for called in reply.calls], reply.done))
        return told

    return asyncio.run(go())


def look(of):
    return Said("", (Call("get", {"of": of}),))


def test_looks_by_hand():
    told = heard("a*5?", look("a5"), look("dc"), look("a9"), look("zz"), look("a%"), look("a*55"), Said("hm"), Said("", (Broken("why"),)))
    assert told == [
        ("bd", [True], False),
        ("c", [True], False),
        ("-", [True], False),
        ("no z", [False], False),
        ("no clue", [False], False),
        ("bd", [True], False),
        ("no call", [], False),
        ("error: why", [False], False),
    ]
    assert heard("a*5?", Said("<answer>b</answer>")) == [("", [], True)]


def test_the_expert_turns_back_where_a_branch_ends_and_answers_when_all_fits():
    world = Looks()
    state, said = world.start(Task("a5*2.a?", {"kinds": SQUARE.kinds, "links": ["ad", "de", "ab", "bc", "cd"]}, "graphs"), Seat("", "")), []
    while not isinstance(does := world.expert(state), str):
        said.append(does.arguments["of"])
        state, _ = asyncio.run(world.reply(state, Said("", (does,)), {}))
    assert said == ["a5*2.a", "d*2.a", "e.a", "c.a", "ba"]
    assert does == "<answer>c</answer>"


def test_a_solver_that_is_told_nothing_that_fits_says_so():
    assert solved(read("a5*2?"), {"a5": []}) == "="
    assert solved(read("a5*2?"), {"a5": ["b"], "b2": ["a"]}) == "=", "the walk's own nodes are none of its next ones"


def test_a_prompt_of_anybody_s_is_no_walk_and_stops_nobody():
    assert read("") == ()
    assert read("?? **") == ()


@pytest.mark.full
def test_a_thousand_questions_are_checked_twenty_times_as_fast_as_by_a_solver_of_formulas():
    """By z3 a question is asked twice: for an answer, and for another one."""
    import time

    z3 = pytest.importorskip("z3")
    tasks = [source("graphs").task("train", 6, index) for index in range(1000)]
    began = time.perf_counter()
    ours = [answers(read(task.prompt), graph_of(task).look) for task in tasks]
    fast = time.perf_counter() - began
    few = range(0, 1000, 50)
    began = time.perf_counter()
    for number in few:
        assert by_formulas(z3, read(tasks[number].prompt), graph_of(tasks[number])) == ours[number]
    slow = (time.perf_counter() - began) * len(tasks) / len(few)
    assert slow > 20 * fast


def by_formulas(z3, walk, graph):
    """All answers, one model after the other."""
    names, back = [*graph.kinds], closes_on(walk)
    nodes = walk[:-1] if back >= 0 else walk
    at = [z3.Int(f"n{number}") for number in range(len(nodes))]
    solver = z3.Solver()
    solver.add(at[0] == names.index(walk[0].clue), z3.Distinct(*at))
    for step, one in zip(nodes[1:], at[1:], strict=True):
        solver.add(z3.Or(*(one == number for number, name in enumerate(names) if fits(step.clue, name, graph.kinds[name]))))
    pairs = [*pairwise(at), *([(at[-1], at[back])] if back >= 0 else [])]
    ways = [(names.index(one), names.index(other)) for link in graph.links for one, other in (link, link[::-1])]
    for one, other in pairs:
        solver.add(z3.Or(*(z3.And(one == first, other == second) for first, second in ways)))
    found = set()
    while solver.check() == z3.sat:
        number = solver.model()[at[asked(walk)]].as_long()
        found.add(names[number])
        solver.add(at[asked(walk)] != number)
    return found
