"""Dropout is off in every mode: --checkpointing puts a model into training mode, where some families drop functionally."""

import pytest
import torch

from strop import pico
from strop.policies.causal import load


@pytest.mark.parametrize("family", ["OPT", "BioGpt", "XGLM"])
def test_two_passes_in_training_mode_are_one(family, tmp_path):
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(pico.path())
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    sizes = {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 512,
        "dropout": 0.5,
        "attention_dropout": 0.5,
        "activation_dropout": 0.5,
    }
    shapes = {
        "OPT": {
            "hidden_size": 16,
            "ffn_dim": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "word_embed_proj_dim": 16,
            "layerdrop": 0.5,
        },
        "BioGpt": {
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "hidden_dropout_prob": 0.5,
        },
        "XGLM": {"d_model": 16, "ffn_dim": 16, "num_layers": 2, "attention_heads": 2, "layerdrop": 0.5},
    }
    config = getattr(transformers, f"{family}Config")(**sizes, **ids, **shapes[family])
    getattr(transformers, f"{family}ForCausalLM")(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    model = load(str(tmp_path / "model")).model.train()
    tokens = torch.arange(5, 15)[None]
    with torch.no_grad():
        assert torch.equal(model(tokens).logits, model(tokens).logits)
