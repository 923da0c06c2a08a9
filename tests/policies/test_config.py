"""A model directory that anybody may have written: each lie of its config.json is one line, before anything large is made."""

import json
import shutil
import time

import pytest
from safetensors.torch import load_file, save_file

from strop import pico
from strop.policies import config
from strop.policies.causal import blank, load
from strop.policies.chat import ModelError
from strop.recipe import Recipe


@pytest.fixture
def model(tmp_path):
    """Makes a copy of the bundled model with another config: fields of it, or a whole text."""

    def made(change, **files):
        shutil.copytree(pico.path(), tmp_path / "model", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        place = tmp_path / "model" / "config.json"
        if isinstance(change, dict):
            change = json.dumps({**json.loads(place.read_text()), **change})
        place.write_bytes(change) if isinstance(change, bytes) else place.write_text(change)
        for name, text in files.items():
            (tmp_path / "model" / f"{name}.json").write_text(text)
        return str(tmp_path / "model")

    return made


ROPE = {"rope_type": "default", "rope_theta": 1e4}
LIES = {
    "gptq": ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "is quantised (gptq)"),
    "awq": ({"quantization_config": {"quant_method": "awq", "bits": 4}}, "dequantise it"),
    "a quantisation that is a word": ({"quantization_config": "gptq"}, "is quantised (gptq)"),
    "a kernel of the hub's": ({"_attn_implementation": "org/kernel"}, "asks for the kernel 'org/kernel' (_attn_implementation)"),
    "code of its own": ({"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}}, "cannot read its config"),
    "no width": ({"hidden_size": 0}, "hidden_size = 0, where it needs a whole number from 1"),
    "a width in quotes": ({"hidden_size": "128"}, "hidden_size = 128, where it needs a whole number"),
    "a billion layers": ({"num_hidden_layers": 10**9, "layer_types": None}, "num_hidden_layers = 1000000000"),
    "a vocabulary below none": ({"vocab_size": -1}, "vocab_size = -1"),
    "a billion labels": ({"num_labels": 10**9}, "num_labels = 1000000000"),
    "heads that do not divide": ({"num_key_value_heads": 3}, "needs a divisor of its 4 attention heads"),
    "heads that do not divide the width": (
        {"num_attention_heads": 3, "num_key_value_heads": 3, "head_dim": None},
        "a divisor of its hidden",
    ),
    "a base that is no number": ({"rope_parameters": {**ROPE, "rope_theta": float("nan")}}, "rope_theta = nan, where it needs a finite"),
    "positions of an unknown kind": ({"rope_parameters": {**ROPE, "rope_type": "zorp"}}, "it knows no 'zorp'"),
    "a window of less than nothing": ({"sliding_window": -4}, "sliding_window = -4"),
    "a list of fields": ("[1]", "config.json holds a list, and needs an object"),
    "a torn file": ('{"model_type": "qw', "config.json is not JSON"),
    "another file": (b"\x00\xff\xfe", "config.json is not JSON"),
    "a deep file": ("[" * 100_000, "config.json is not JSON"),
    "a long file": (" " * (2**22 + 1), "such a file has a few thousand"),
}


@pytest.mark.parametrize("name", LIES)
def test_what_a_config_cannot_mean_is_one_line_with_the_field_before_anything_is_made(name, model):
    change, said = LIES[name]
    place = model(change)
    began = time.perf_counter()
    with pytest.raises(ModelError) as refusal:
        blank(Recipe(model=place))
    assert said in str(refusal.value)
    assert str(place) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert time.perf_counter() - began < 5


def test_a_reply_must_end_with_a_token_that_there_is(model):
    with pytest.raises(ModelError, match="ends a reply with token 99999"):
        load(model({}, generation_config='{"eos_token_id": [257, 99999]}'))


def test_an_end_that_is_no_number_is_named(model):
    with pytest.raises(ModelError, match=r"generation_config\.json says eos_token_id = 'x'"):
        load(model({}, generation_config='{"eos_token_id": "x"}'))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hidden_size": 64}, "its weights have other shapes than its config.json says"),
        ({"architectures": "BertModel"}, "is BertModel, not a causal language model"),
    ],
)
def test_a_model_that_cannot_speak_is_refused_as_it_is_loaded(change, said, model):
    with pytest.raises(ModelError, match=said):
        load(model(change))


def test_weights_that_are_no_numbers_are_said_before_a_step_is_drawn_with_them(model):
    place = model({})
    weights = load_file(f"{place}/model.safetensors")
    weights["model.norm.weight"][3] = float("nan")
    save_file(weights, f"{place}/model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="gives no finite numbers for a prompt"):
        load(place)


@pytest.mark.parametrize("text", ["{", "[]", '{"version": "1.0", "model": {"type": "BPE", "vocab": 3}}', "null"])
def test_a_tokenizer_of_the_wrong_form_is_said_to_be_one(text, model):
    with pytest.raises(ModelError, match="its tokenizer cannot be read"):
        config.tokenizer(model({}, tokenizer=text), "here")
