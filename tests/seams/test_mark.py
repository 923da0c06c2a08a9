"""What is read off a reply: labels, and stretches as tokens, over every way that tokens and segments may lie."""

import pytest

from strop.method import Method
from strop.methods.grpo import GRPO
from strop.policies.causal import load
from strop.records import Author, Group, Rollout, Row, Scores, Segment, Span, Task
from strop.seams.mark import between, labelled, marked, opening_tag, pieces
from strop.seams.part import part

TAGS = ("<answer>", "<short>", "<long>")


class Words:
    """A stand-in for a tokenizer: a token is a piece of UTF-8, in a table; 0 ends a reply and writes nothing."""

    stop = ()

    def __init__(self, *pieces: bytes):
        self.pieces = (b"", *pieces)

    def text(self, tokens):
        return b"".join(self.pieces[token] for token in tokens).decode(errors="replace")


def rollout(renderer, *segments, text=None):
    """Segments given as (kind, tokens), in one row behind a prompt."""
    made = [
        Segment(kind, tuple(tokens), f"0.{i}", Author("actor", 0), (-1.0,) * len(tokens))
        if kind == "action"
        else Segment(kind, tuple(tokens), f"0.{i}")
        for i, (kind, tokens) in enumerate(segments)
    ]
    written = "".join(renderer.text(s.tokens) for s in made if s.kind != "observation") if text is None else text
    return Rollout((Row.of(Segment("prompt", (1,), "0"), *made),), "r", text=written)


def spans(one, renderer, *marks):
    (group,) = marked(marks, [Group(Task("q", {}, "s"), (one,))], renderer)
    (found,) = group.rollouts
    places = {(s.id, span.label, span.start, span.stop) for row in found.rows for s in row.segments for span in s.spans}
    return places, found.keys["labels"]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("<answer>4</answer>", 0),
        ("<long>2+2=4</long><answer>4</answer>", 2),
        (" <long>2+2</long>", None),
        ("<long>2<short>2</short></long>", None),
        ("<short>1</short><long>2</long>", None),
        ("", None),
        ("4", None),
    ],
)
def test_a_reply_has_the_label_of_the_tag_it_opens_with_unless_it_holds_another(text, label):
    assert opening_tag(text, tags=TAGS, inside=("<answer>",)) == label


def test_the_longer_of_two_tags_that_begin_alike_is_meant():
    assert opening_tag("<think>=4", tags=("<think>", "<think>="), inside=()) == 1
    assert opening_tag("<think>4", tags=("<think>", "<think>="), inside=()) == 0


def test_stretches_of_a_text():
    text = "a<answer>4</answer>b<answer>5"
    assert [text[a:b] for a, b in between(text)] == ["4", "5"]
    assert pieces("2+2=4\n\n 4-1=3\n", separator="\n") == [(0, 5), (7, 13)]
    assert pieces("", separator="\n") == []


def test_a_token_that_lies_partly_inside_is_inside_and_a_tag_may_be_split_over_tokens():
    words = Words(b"a<ans", b"wer>4", b"2</an", b"swer>")
    places, labels = spans(rollout(words, ("action", (1, 2, 3, 4, 0))), words, between())
    assert places == {("0.0", "answer", 1, 3)}, "the pieces that hold 4 and 2"
    assert labels == {"answer_length": 2}


def test_a_character_of_several_tokens_belongs_to_all_of_them():
    mark = "é".encode()
    words = Words(b"<answer>", mark[:1], mark[1:], b"</answer>")
    places, labels = spans(rollout(words, ("action", (1, 2, 3, 4))), words, between())
    assert places == {("0.0", "answer", 1, 3)}
    assert labels == {"answer_length": 2}


def test_a_stretch_without_a_character_has_no_token():
    words = Words(b"<answer>", b"</answer>")
    assert spans(rollout(words, ("action", (1, 2))), words, between()) == (set(), {"answer_length": 0})


def test_an_action_that_went_on_under_new_weights_has_a_span_on_each_side():
    words = Words(b"<answer>", b"4", b"2", b"</answer>")
    places, labels = spans(rollout(words, ("action", (1, 2)), ("action", (3, 4))), words, between())
    assert places == {("0.0", "answer", 1, 2), ("0.1", "answer", 0, 1)}
    assert labels == {"answer_length": 2}


def test_what_a_world_answered_is_no_span_and_the_second_turn_finds_its_place():
    words = Words(b"one;two", b";", b"two")
    one = rollout(words, ("action", (1,)), ("observation", (2,)), ("action", (3,)), text="one;two\nobserved;\ntwo")
    places, labels = spans(one, words, pieces(separator="\n"))
    assert places == {("0.0", "piece", 0, 1), ("0.2", "piece", 0, 1)}
    assert labels == {"piece_length": 2}


def test_forced_and_taught_text_is_marked_too_and_a_token_counts_once():
    words = Words(b"<answer>", b"4")
    assert spans(rollout(words, ("forced", (1,)), ("action", (2,))), words, between())[0] == {("0.1", "answer", 0, 1)}
    assert spans(rollout(words, ("teacher", (1, 2))), words, between())[0] == {("0.0", "answer", 1, 2)}
    whole = Words(b"a\nb")
    assert spans(rollout(whole, ("action", (1,))), whole, pieces())[1] == {"piece_length": 1}


def test_the_tokens_of_a_stretch_are_those_that_write_it_in_a_real_tokenizer():
    renderer = load("pico").renderer
    text = "<think>7*8=56\n56-19=37</think><answer>37</answer>"
    one = Rollout((Row.of(Segment("prompt", (1,), "p"), Segment("teacher", renderer.reply(text), "p.0")),), "r", text=text)
    (group,) = marked((between(), pieces()), [Group(Task("q", {}, "s"), (one,))], renderer)
    (row,) = group.rollouts[0].rows
    segment = row.segments[1]
    said = {(span.label, renderer.text(segment.tokens[span.start : span.stop])) for span in segment.spans}
    assert said == {("answer", "37"), ("piece", "<think>7*8=56"), ("piece", "56-19=37</think><answer>37</answer>")}


@part(gives="format_R")
def broken(text: str) -> int:
    """Raises where the text has no colon."""
    return 0 if not text else text.index(":")


LINE = broken.fn.__code__.co_firstlineno + 3


@part(gives="answer_T")
def outside(text: str) -> list:
    return [(0, len(text) + 1)] if text else []


def test_a_mark_that_fails_is_our_fault_and_said():
    words = Words(b"no")
    group = Group(Task("q", {}, "s"), (rollout(words, ("action", (1,))),))
    scores = labelled(Scores(), marked((broken, outside), [group], words))
    assert scores.values == {"r": {"format": None, "answer_length": None}}
    assert [i.why for i in scores.incidents] == [
        f"part broken (test_mark.py, line {LINE}): ValueError: substring not found",
        "mark outside: ValueError: a stretch is (start, stop) within a text of 2 characters, got (0, 3)",
    ]
    assert labelled(scores, marked((broken,), [group], words)).incidents == scores.incidents, "said once"


def test_a_mark_of_the_same_name_takes_the_place_of_what_was_marked():
    words = Words(b"a", b"\n", b"b")
    group = Group(Task("q", {}, "s"), (rollout(words, ("action", (1, 2, 3))),))
    once = marked((pieces(),), [group], words)
    assert marked((pieces(),), once, words) == once
    (again,) = marked((pieces(separator="b"),), once, words)
    assert again.rollouts[0].rows[0].segments[1].spans == (Span("piece", 0, 2),)
    assert marked((), [group], words) == [group]


@part(gives="length_R")
def lengthy(text: str) -> int:
    return 0


@part(gives="format")
def bare(text: str) -> int:
    return 0


@part(gives="mine_R")
def of_scores(outcome_R) -> int:
    return 0


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        ((opening_tag(tags=()),), r"marks\[0\] 'opening_tag': opening_tag\(tags=\(\)\): name the tags"),
        ((opening_tag,), "name the tags"),
        ((pieces(separator=""),), "name what stands between two pieces"),
        ((lengthy,), "gives length_R, which is given already"),
        ((bare,), "gives 'format': a label gives NAME_R, stretches NAME_T"),
        ((of_scores,), "reads outcome_R: a mark reads text"),
        ((pieces(), pieces(separator=";")), "gives piece_length_R, which is given already"),
        ((lambda text: 0,), r"marks\[0\] is a part"),
    ],
)
def test_a_mark_that_could_not_mark_is_refused_when_the_method_is_built(marks, said):
    with pytest.raises(ValueError, match=said):
        GRPO.but("mine", marks=marks)


def test_a_method_without_marks_is_described_as_it_was():
    assert "marks" not in GRPO.describe()
    assert isinstance(GRPO.but("mine", marks=(pieces(),)), Method)
    assert GRPO.but(marks=(pieces(),)).fingerprint != GRPO.fingerprint
