"""Tokens of one's own: texts that a model reads and writes as one token each, as tags and labels are.

A new row of the embedding, and of the head where that is apart, begins as a copy of another token's or as the mean of all. What the model
says of everything else stays as it was, but for the chance that the new ones take.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from strop.policies.chat import ModelError

if TYPE_CHECKING:
    from strop.policies.causal import CausalPolicy


def widen(policy: CausalPolicy, tokens: Mapping[str, str]) -> dict[str, int]:
    """Gives the policy's model and tokenizer these tokens, {text: the token it begins as, or nothing for the mean}; gives their ids."""
    from transformers import AddedToken

    tokenizer, model, before = policy.tokenizer, policy.model, policy.tokenizer.get_vocab()
    known = sorted(set(before.values()))
    for text, like in tokens.items():
        if not text.strip() or text != text.strip():
            raise ModelError(f"{text!r} cannot be a token: write a text without white space around it")
        if text in before:
            raise ModelError(f"{text!r} is a token of {policy.name!r} already, number {before[text]}")
        if like and like not in before:
            raise ModelError(f"{text!r} would begin as {like!r}, which is no token of {policy.name!r}")
    tokenizer.add_tokens([AddedToken(text, normalized=False, special=False) for text in tokens])
    ids: dict[str, int] = {text: tokenizer.convert_tokens_to_ids(text) for text in tokens}
    with torch.no_grad():
        if max(ids.values()) >= model.get_input_embeddings().weight.shape[0]:
            model.resize_token_embeddings(max(ids.values()) + 1, mean_resizing=False)
        for table in _tables(model):
            for text, like in tokens.items():
                table[ids[text]] = table[before[like]] if like else table[known].mean(0)
    for text, number in ids.items():
        if policy.renderer.plain(text) != (number,):
            raise ModelError(f"{text!r} does not come back from the tokenizer of {policy.name!r} as one token: choose another text")
    return ids


def _tables(model: Any) -> list[Tensor]:
    """What has a row for each token, tied ones once."""
    head = model.get_output_embeddings()
    found = [model.get_input_embeddings().weight, head.weight, *([head.bias] if getattr(head, "bias", None) is not None else [])]
    return list({id(table): table for table in found}.values())
