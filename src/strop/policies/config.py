"""What a model's config.json says, looked at before any library builds from it: a file that anybody may have written.

A number is within what a machine could hold, heads divide what they share, and no kernel or arithmetic is asked for that a library would
fetch or that training could not go through. What else a library cannot read of it is said in one line.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from strop.policies.chat import ModelError, first_line

LONGEST = 2**22
"""Bytes of a config.json; the longest in use are a hundredth of it."""
COUNTS = {
    **dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers", "n_layers"), 2**12),
    **dict.fromkeys(("num_attention_heads", "num_key_value_heads", "n_head", "n_heads", "head_dim"), 2**16),
    **dict.fromkeys(("hidden_size", "n_embd", "d_model"), 2**24),
    **dict.fromkeys(("vocab_size", "max_position_embeddings", "n_positions", "sliding_window"), 2**28),
    "num_labels": 2**16,
}
"""Whole numbers, at least 1, and the most that is a number of anything."""
POSITIVE = ("rope_theta", "factor", "rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps")
"""Finite and above 0."""
KERNELS = ("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation")
"""Where a configuration names the code of an operation: a word is the library's own, ORG/NAME is code from the hub."""


def opened(path: str, name: str) -> Any:
    """The configuration of a model directory or hub id, or what is wrong with it."""
    import transformers

    _check(_read(path, name), name)
    try:
        return transformers.AutoConfig.from_pretrained(path, trust_remote_code=False)
    except Exception as error:  # whatever a library makes of a file of others
        raise ModelError(
            f"model {name!r}: cannot read its config ({why(error)}). It needs a config.json of a causal language model."
        ) from error


def tokenizer(path: str, name: str) -> Any:
    """Its tokenizer, or what is wrong with that."""
    import transformers

    _check(_read(path, name), name)
    try:
        return transformers.AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except MemoryError:
        raise
    except BaseException as error:  # a tokenizer's file of the wrong form makes the library underneath panic, which is no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise ModelError(
            f"model {name!r}: its tokenizer cannot be read ({why(error)}). Copy tokenizer.json and tokenizer_config.json again from "
            "where the model came from."
        ) from error


def _read(path: str, name: str) -> Mapping[str, Any]:
    """Of a directory; a hub id's is read by the library that fetches it."""
    file, said = Path(path) / "config.json", f"model {name!r}: cannot read its config"
    if not file.is_file():
        return {}
    if file.stat().st_size > LONGEST:
        raise ModelError(f"{said}: config.json has {file.stat().st_size} bytes, and such a file has a few thousand.")
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{said}: config.json is not JSON ({first_line(error)}). Copy it again.") from error
    if not isinstance(found, dict):
        raise ModelError(f"{said}: config.json holds a {type(found).__name__}, and needs an object of fields.")
    return cast(Mapping[str, Any], found)


def _check(config: Mapping[str, Any], name: str) -> None:
    if (quantised := config.get("quantization_config")) is not None:
        how = quantised.get("quant_method") if isinstance(quantised, Mapping) else quantised
        raise ModelError(
            f"model {name!r} is quantised ({str(how)[:40]}): its weights are whole numbers, which no gradient moves. Take the model it was "
            "made from, or load it where its library is installed, dequantise it, and save_pretrained."
        )
    for part in _parts(config, 3):
        _numbers(part, name)
        for kernel in KERNELS:
            if (asked := part.get(kernel)) is not None and (not isinstance(asked, str | Mapping) or "/" in str(asked)):
                raise ModelError(
                    f"model {name!r}: its config.json asks for the kernel {str(asked)[:60]!r} ({kernel}), which would be fetched and run. "
                    "Take that line out."
                )


def _parts(config: Mapping[str, Any], depth: int) -> Iterator[Mapping[str, Any]]:
    """The configuration, and those inside it (text_config, rope_parameters)."""
    yield config
    for value in config.values() if depth else ():
        if isinstance(value, Mapping):
            yield from _parts(cast(Mapping[str, Any], value), depth - 1)


def _numbers(part: Mapping[str, Any], name: str) -> None:
    def refuse(key: str, needs: str) -> None:
        raise ModelError(f"model {name!r}: its config.json says {key} = {str(part[key])[:40]}, where it needs {needs}. Copy it again.")

    for key, most in COUNTS.items():
        given = part.get(key)
        for value in cast(list[Any], given) if isinstance(given, list) else [given]:
            if value is not None and not (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most):
                refuse(key, f"a whole number from 1 to {most}")
    for key in POSITIVE:
        value = part.get(key)
        if value is not None and not (isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf):
            refuse(key, "a finite number above 0")
    width, heads, shared = part.get("hidden_size"), part.get("num_attention_heads"), part.get("num_key_value_heads")
    if isinstance(heads, int) and isinstance(shared, int) and heads % shared:
        refuse("num_key_value_heads", f"a divisor of its {heads} attention heads")
    if isinstance(heads, int) and isinstance(width, int) and width % heads and not part.get("head_dim"):
        refuse("num_attention_heads", f"a divisor of its hidden_size {width}, where no head_dim is given")


def why(error: BaseException) -> str:
    """What a library's error says, in a line: where it begins with what it was doing, its last one; a bare word is a key it lacks."""
    said = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = said[-1] if type(error).__name__.startswith("Strict") and said else first_line(error)
    return f"it knows no {last}" if isinstance(error, KeyError) else last[:200]
