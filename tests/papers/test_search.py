"""Search: both languages, any spelling, the better field first."""

import unicodedata

import pytest

from strop.papers import Paper, Said, catalogue
from strop.papers.search import earned, excerpt, plain, search, words


def paper(id, title="A title", name="", topics=("reasoning",), en="Something else.", ko="다른 것."):
    return Paper(id, title, "method", topics, Said(en, ko), name=name)


def found(query, *papers):
    return [hit.paper.id for hit in search(query, papers)]


def test_hangul_is_found_with_and_without_spaces_composed_or_not():
    speech = paper("speech", ko="이 논문은 음성 인식을 다룬다.")
    joined = paper("joined", ko="음성인식 모델이다.")
    for query in ("음성 인식", "음성인식", unicodedata.normalize("NFD", "음성인식"), "음성  인식을"):
        assert "speech" in found(query, speech, joined, paper("other"))
        assert "other" not in found(query, speech, joined, paper("other"))
    assert set(found("음성 인식", speech, joined)) == {"speech", "joined"}


def test_case_and_width_do_not_matter():
    one = paper("one", title="GRPO for VLMs")
    for query in ("grpo", "GRPO", "ＧＲＰＯ", "vlms"):
        assert found(query, one) == ["one"]


def test_title_before_name_before_topics_before_summary():
    order = [
        paper("title", title="On flow"),
        paper("name", name="flow"),
        paper("topics", topics=("flow",)),
        paper("summary", en="It has a flow."),
        paper("begins", en="It flows."),
        paper("inside", en="An overflow."),
    ]
    assert found("flow", *reversed(order)) == [one.id for one in order]


def test_all_words_before_some_and_the_phrase_before_its_words():
    phrase, apart, half = (
        paper("phrase", title="Speech recognition"),
        paper("apart", title="Recognition of speech"),
        paper("half", title="Speech"),
    )
    assert found("speech recognition", half, apart, phrase) == ["phrase", "apart"]
    assert found("speech synthesis", half, apart, phrase) == ["half", "apart", "phrase"]
    assert found("nothing", half) == []


def test_two_letters_inside_a_word_are_no_hit():
    assert earned("rl", "the world") == 0
    assert earned("rl", "rl for the world") == 1


def test_a_query_that_is_a_pattern_is_only_text():
    assert found("a.c", paper("one", title="abc (")) == []
    assert found("( [a-z", paper("one", title="([a-z")) == ["one"]


def test_the_excerpt_is_the_sentence_with_the_words():
    assert excerpt("음성 인식", "첫 문장이다. 음성 인식을 배운다. 끝이다.") == "음성 인식을 배운다."
    assert excerpt("absent", "First one. Second one.") == "First one."


def test_a_query_in_one_spelling():
    assert plain("음성  인식 ＡＢ c") == "음성인식 ab c"
    assert words("a A  b") == ["a", "b"]


@pytest.mark.parametrize(
    ("query", "first"), [("cdas", "2505.17652"), ("2505.19590", "2505.19590"), ("treepo", "2508.17445"), ("음성 인식", "2505.16972")]
)
def test_the_catalogue_answers_with_the_paper_one_means(query, first):
    assert search(query, catalogue().papers.values())[0].paper.id == first
