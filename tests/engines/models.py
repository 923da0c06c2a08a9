"""Tiny random models of each family, saved with safetensors and loaded through AutoModelForCausalLM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedModel

VOCAB = 97
_SMALL: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
    "attention_dropout": 0.0,
}
_MIXED = ["sliding_attention", "full_attention", "sliding_attention"]
_EXPERTS: dict[str, Any] = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "decoder_sparse_step": 1}
_MORE: dict[str, dict[str, Any]] = {
    "Qwen3": {"head_dim": 16, "tie_word_embeddings": True},
    "Qwen2": {"tie_word_embeddings": False},
    "Llama": {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                  "original_max_position_embeddings": 64}},
    "Mistral": {"sliding_window": 24, "head_dim": 12},
    "Gemma2": {"head_dim": 16, "sliding_window": 24, "layer_types": _MIXED, "query_pre_attn_scalar": 20, "attn_logit_softcapping": 3.0,
               "final_logit_softcapping": 6.0},
    "Gemma3": {"head_dim": 16, "sliding_window": 24, "layer_types": _MIXED, "query_pre_attn_scalar": 20, "final_logit_softcapping": 8.0,
               "rope_parameters": {"sliding_attention": {"rope_type": "default", "rope_theta": 1e2},
                                   "full_attention": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}}},
    "Phi3": {"sliding_window": 24, "rope_parameters": {"rope_type": "default", "rope_theta": 1e3, "partial_rotary_factor": 0.5}},
    "Olmo2": {"num_key_value_heads": 4},
    "Olmo3": {"sliding_window": 24, "layer_types": _MIXED,
              "rope_parameters": {"sliding_attention": {"rope_type": "default", "rope_theta": 1e3},
                                  "full_attention": {"rope_type": "yarn", "rope_theta": 1e3, "factor": 4.0, "beta_fast": 32.0,
                                                     "beta_slow": 1.0, "original_max_position_embeddings": 64}}},
    "Glm": {"head_dim": 16, "attention_bias": True},
    "Glm4": {"head_dim": 20, "attention_bias": True,
             "rope_parameters": {"rope_type": "default", "rope_theta": 1e3, "partial_rotary_factor": 0.4}},
    "Granite": {"embedding_multiplier": 3.0, "residual_multiplier": 0.4, "attention_multiplier": 0.2, "logits_scaling": 2.0},
    "Qwen2Moe": {**_EXPERTS, "shared_expert_intermediate_size": 48, "norm_topk_prob": False, "mlp_only_layers": [1]},
    "Qwen3Moe": {**_EXPERTS, "head_dim": 16, "norm_topk_prob": True, "mlp_only_layers": [1], "use_sliding_window": True,
                 "sliding_window": 24},
    "Cohere": {},
}  # fmt: skip
FAMILIES = tuple(_MORE)
FAST = FAMILIES[:-1]


def small(family: str, **changes: Any) -> PreTrainedModel:
    name = family + ("Text" if family == "Gemma3" else "")
    config = getattr(transformers, name + "Config")(**_SMALL | _MORE[family] | changes)
    return getattr(transformers, family + "ForCausalLM")(config)


def make(family: str, folder: Path) -> PreTrainedModel:
    """Weights larger than an initialisation's, so that predictions are peaked and errors would show."""
    path = folder / family
    if not path.exists():
        torch.manual_seed(len(family))
        model = small(family)
        with torch.no_grad():
            for weight in model.parameters():
                if weight.ndim > 1:
                    weight.normal_(0, 2.0 / weight.shape[-1] ** 0.5)
                else:
                    weight.add_(0.1 * torch.randn_like(weight))
        model.save_pretrained(path)
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()


class Letters:
    """A tokenizer of one character per token, as far as the engine asks for one."""

    eos_token_id = None

    def __len__(self) -> int:
        return VOCAB

    def decode(self, ids: list[int], **kwargs: Any) -> str:
        return "".join(chr(32 + i) for i in ids)
