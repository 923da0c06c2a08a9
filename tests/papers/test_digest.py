"""What a text names: every spelling of an arXiv id, and what is no id."""

import doctest
import os
import time

import pytest

from strop.papers import digest


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2505.17652", ["2505.17652"]),
        ("see 2505.17652v3.", ["2505.17652"]),
        ("https://arxiv.org/abs/2505.17652v2", ["2505.17652"]),
        ("http://arxiv.org/pdf/2505.17652v2.pdf", ["2505.17652"]),
        ("https://huggingface.co/papers/2508.18265)", ["2508.18265"]),
        ("arXiv:2505.17652, arxiv: 2508.18265; ARXIV:2509.00001", ["2505.17652", "2508.18265", "2509.00001"]),
        ("doi = {10.48550/arXiv.2505.17652}", ["2505.17652"]),
        ("논문2505.17652은", ["2505.17652"]),
        ("arXiv:1412.6980 and https://arxiv.org/abs/0704.0001", ["1412.6980", "0704.0001"]),
        ("hep-th/9901001, math.GT/0309136v2, cs/0112017", ["hep-th/9901001", "math/0309136", "cs/0112017"]),
        ("b 2508.18265 a 2505.17652 b 2508.18265", ["2508.18265", "2505.17652"]),
        ("1412.6980 alone is a number", []),
        ("2513.17652, 2500.17652, 12505.17652, 2505.176521, 1.2505.17652, 2505.1765", []),
        ("10.1145/3372297.3417238 and src/0112017", []),
        ("", []),
    ],
)
def test_ids_of_a_text_in_its_order(text, found):
    assert digest.ids(text) == found


def test_the_example_in_its_words_is_true():
    assert doctest.testmod(digest).failed == 0


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp949", "latin-1"])
def test_a_text_of_any_encoding_is_read(encoding, tmp_path):
    file = tmp_path / "digest.txt"
    file.write_bytes(("논문 2505.17652" if encoding != "latin-1" else "papier né 2505.17652").encode(encoding))
    assert digest.named(file) == ["2505.17652"]


def test_two_megabytes_of_prefixes_take_a_moment(tmp_path):
    file = tmp_path / "large.txt"
    file.write_text("word 2505.17652 1.1.1.1.1 cs/cs/cs/ arxiv:arxiv: " * 40_000)
    began = time.process_time()
    assert digest.named(file) == ["2505.17652"]
    assert time.process_time() - began < 3


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="is no file"):
        digest.read(tmp_path / "pipe")
