import random

import pytest
from transformers import AutoTokenizer

import strop.pico


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(strop.pico.path())


def test_every_byte_has_its_own_value_as_id(tokenizer):
    assert tokenizer("7*8=?\n é", add_special_tokens=False)["input_ids"] == list("7*8=?\n é".encode())
    assert len(tokenizer) == 266


def test_text_comes_back_byte_for_byte(tokenizer):
    rng = random.Random(0)
    texts = ["", " ", "  a  b ,. !", "\t\r\n\n", "naïve 算术 🧮\x00\x7f", "<think>1</think><answer>2</answer>", " 's n't <|im_end"]
    texts += ["".join(chr(rng.choice((rng.randrange(128), rng.randrange(0x20, 0xD7FF)))) for _ in range(40)) for _ in range(200)]
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_the_chat_costs_three_tokens_and_extends_its_own_prefix(tokenizer):
    turn = [{"role": "user", "content": "1+1=?"}]
    prompt = tokenizer.apply_chat_template(turn, add_generation_prompt=True)["input_ids"]
    assert len(prompt) == len("1+1=?") + 3
    whole = tokenizer.apply_chat_template([*turn, {"role": "assistant", "content": "<think></think><answer>2</answer>"}])["input_ids"]
    assert whole[: len(prompt)] == prompt
    assert whole[-1] == tokenizer.eos_token_id


def test_tags_are_one_token_and_survive_decoding(tokenizer):
    ids = tokenizer("<think></think><answer>2</answer><|im_end|>", add_special_tokens=False)["input_ids"]
    assert len(ids) == 6
    assert tokenizer.decode(ids, skip_special_tokens=True) == "<think></think><answer>2</answer>"
