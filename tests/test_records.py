import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strop.records import (
    Author,
    Fate,
    Group,
    Incident,
    Rollout,
    Row,
    Sampling,
    Scores,
    Segment,
    Span,
    Task,
    canonical,
    digest,
)

some = settings(max_examples=30, deadline=None, derandomize=True, database=None)

words = st.text(max_size=8)
finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)
facts = st.dictionaries(words, plain, max_size=3)
samplings = st.builds(
    Sampling, st.floats(0, 2), st.floats(0.1, 1), st.integers(0, 50), st.none() | st.lists(st.integers(0, 99), max_size=3).map(tuple)
)
authors = st.builds(Author, words, st.integers(0, 9), samplings)


@st.composite
def segments(draw, name: str = "s") -> Segment:
    tokens = tuple(draw(st.lists(st.integers(0, 2**17), max_size=5)))
    exact = st.lists(finite, min_size=len(tokens), max_size=len(tokens)).map(tuple)
    cut = draw(st.integers(0, len(tokens)))
    return Segment(
        draw(st.sampled_from(["prompt", "action", "forced", "observation", "teacher"])),
        tokens,
        name,
        draw(st.none() | authors),
        draw(st.none() | exact),
        draw(st.sampled_from([(), (Span("x", cut, len(tokens)), Span("", 0, cut))])),
        draw(st.sampled_from([(), ("a",), ("a", "b")])),
        draw(st.dictionaries(words, exact, max_size=2)),
    )


@st.composite
def rows(draw) -> Row:
    line = [draw(segments(name=f"s{i}")) for i in range(draw(st.integers(0, 4)))]
    return draw(st.sampled_from([Row.of(*line), Row(tuple(line), frozenset())]))


tasks = st.builds(Task, words, facts, words, facts)
stops = st.sampled_from(["finished", "stop", "length", "turns", "budget", "format", "tool", "error"])
episodes = st.builds(Rollout, st.lists(rows(), max_size=2).map(tuple), words, stops, facts, words, words)
groups = st.builds(Group, tasks, st.lists(episodes, max_size=2).map(tuple), words, words)
incidents = st.builds(Incident, words, words, words)
scores = st.builds(
    Scores,
    st.dictionaries(words, st.dictionaries(words, st.none() | finite, max_size=3), max_size=3),
    st.dictionaries(words, words, max_size=2),
    st.lists(incidents, max_size=2).map(tuple),
)


@pytest.mark.parametrize("made", [samplings, authors, segments(), rows(), tasks, episodes, groups, scores], ids=lambda s: str(s)[:12])
def test_a_record_travels_through_json_without_loss(made):
    @some
    @given(made)
    def check(record):
        back = type(record).from_json(json.loads(canonical(record.to_json())))
        assert back == record
        assert canonical(back.to_json()) == canonical(record.to_json())
        if not isinstance(record, Scores):
            assert hash(back) == hash(record)

    check()


@some
@given(facts)
def test_the_order_of_keys_is_no_part_of_identity(needs):
    back = dict(reversed(list(needs.items())))
    assert digest(back) == digest(needs)
    assert Task("p", back, "s").id == Task("p", needs, "s").id


def test_a_task_is_named_by_its_content_and_not_by_facts_about_it():
    one = Task("1 + 1", {"answer": 2}, "sums")
    assert Task("1 + 1", {"answer": 2}, "sums", {"difficulty": 3}).id == one.id
    assert (
        len(
            {one.id, Task("1 + 2", {"answer": 2}, "sums").id, Task("1 + 1", {"answer": 3}, "sums").id, Task("1 + 1", {"answer": 2}, "x").id}
        )
        == 4
    )


def test_a_row_trains_what_was_written_and_no_prompt_or_observation():
    kinds = ("prompt", "action", "observation", "forced", "teacher")
    row = Row.of(*(Segment(kind, (1, 2), kind) for kind in kinds))
    assert row.trains == {"action", "forced", "teacher"}
    assert row.tokens == (1, 2) * 5
    assert row.actions == 2


def test_a_segment_shared_by_several_rows_counts_once():
    prompt, first, second, third = (Segment(k, (0,) * n, f"s{n}") for k, n in (("prompt", 5), ("action", 3), ("action", 2), ("action", 1)))
    rollout = Rollout((Row.of(prompt, first, second), Row((prompt, first, third), frozenset({third.id}))), "r")
    assert rollout.length == 6


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"logp": (0.5,)}, "2 tokens but 1 log-probabilities"),
        ({"spans": (Span("x", 1, 3),)}, r"span 'x' is \[1, 3\), but it has 2 tokens"),
        ({"spans": (Span("x", -1, 1),)}, "span 'x'"),
        ({"spans": (Span("x", 2, 1),)}, "span 'x'"),
        ({"tracks": {"judge": (1.0, 2.0, 3.0)}}, "2 tokens but 3 values in track 'judge'"),
    ],
)
def test_a_segment_whose_parts_do_not_fit_its_tokens_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        Segment("action", (1, 2), "s", **change)


def test_a_row_cannot_train_a_segment_it_does_not_hold():
    with pytest.raises(ValueError, match=r"a row trains \['late'\], which are not among its segments \['a', 'b'\]"):
        Row((Segment("prompt", (1,), "a"), Segment("action", (2,), "b")), frozenset({"b", "late"}))


def test_channels_of_two_graders_merge_and_a_contradiction_is_refused():
    one = Scores({"r0": {"outcome": 1.0}}, {"r0": "wrong"}, (Incident("r0", "style", "timeout"),))
    both = one | Scores({"r0": {"style": None}, "r1": {"outcome": 0.0}})
    assert both.get("r0", "outcome") == 1.0
    assert both.get("r0", "style") is None
    assert both.channels() == ["outcome", "style"]
    assert both | both == Scores(both.values, both.reasons, both.incidents * 2)
    with pytest.raises(ValueError, match="two graders gave channel 'outcome' of 'r0'"):
        one | Scores({"r0": {"outcome": 0.0}})


def test_a_rate_is_over_what_could_be_measured():
    group = Group(Task("p", {}, "s"), tuple(Rollout((), f"r{i}") for i in range(3)))
    assert Scores({"r0": {"outcome": 1.0}, "r1": {"outcome": 0.0}, "r2": {"outcome": None}}).rate(group) == 0.5
    assert Scores().rate(group) is None
    assert Fate().kind == "keep"


def test_what_json_cannot_carry_is_refused():
    for value in (float("nan"), float("inf"), object()):
        with pytest.raises((ValueError, TypeError)):
            canonical(value)
