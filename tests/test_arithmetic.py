"""docs/scaling.md holds what benchmarks/arithmetic.py computes, and its counts are transformers' own."""

import runpy
from pathlib import Path

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

ROOT = Path(__file__).parent.parent
ARITHMETIC = runpy.run_path(str(ROOT / "benchmarks" / "arithmetic.py"))


@pytest.mark.parametrize("size", ARITHMETIC["SIZES"], ids=lambda size: size.name)
def test_weights_and_products_are_counted_as_transformers_builds_them(size):
    sizes = {"hidden_size": size.hidden, "num_hidden_layers": size.layers, "num_attention_heads": size.heads}
    sizes |= {"num_key_value_heads": size.kv_heads, "intermediate_size": size.inner, "head_dim": size.head_dim}
    with torch.device("meta"):
        model = Qwen3ForCausalLM(Qwen3Config(vocab_size=size.vocab, tie_word_embeddings=size.tied, **sizes))
    assert model.num_parameters() == size.weights
    matrices = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear))
    assert matrices == size.products
    cached = sum(m.weight.shape[0] for name, m in model.named_modules() if name.endswith(("k_proj", "v_proj")))
    assert 2 * cached == size.kv(2)
    adapted = [m.weight.shape for name, m in model.named_modules() if isinstance(m, torch.nn.Linear) and name != "lm_head"]
    assert 16 * sum(map(sum, adapted)) == size.lora(16)


def test_a_forward_pass_costs_what_torch_counts():
    from torch.utils.flop_counter import FlopCounterMode

    small = ARITHMETIC["Size"]("small", 2, 64, 4, 2, 128, True, head_dim=32, vocab=256)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128}
    config = Qwen3Config(vocab_size=256, head_dim=32, tie_word_embeddings=True, attn_implementation="eager", **sizes)
    model, length = Qwen3ForCausalLM(config), 64
    ids = torch.arange(length)[None]
    with FlopCounterMode(display=False) as forward:
        loss = model(input_ids=ids, use_cache=False).logits.logsumexp(-1).sum()
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    assert forward.get_total_flops() == pytest.approx(length * small.forward(length), rel=0.01)
    assert backward.get_total_flops() == pytest.approx(2 * forward.get_total_flops(), rel=0.02)


def test_the_page_holds_the_tables_that_the_command_prints():
    page = (ROOT / "docs" / "scaling.md").read_text()
    assert page == ARITHMETIC["placed"](page), "write them anew: python benchmarks/arithmetic.py --write"
