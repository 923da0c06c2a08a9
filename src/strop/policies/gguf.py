"""A GGUF file as a model: transformers reads it into float32, once; what it read is kept under the file's hash, and used from there.

Reading one takes a minute and more (a vocabulary is parsed string by string), and each process of a run, an evaluation or an engine needs
a directory in Hugging Face format anyway. What a quantised file lost stays lost: float32 is what is trained, not what was quantised.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import shutil
import struct
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from functools import cache
from pathlib import Path
from typing import Any

from strop import durable
from strop.policies.chat import ModelError, first_line

NEEDS = ("gguf", "accelerate")
ORIGIN = "gguf.json"
"""Beside the model that was read: what it was read from."""


def file_of(path: Path) -> Path | None:
    """The GGUF file that a path names: itself, or the only one of a directory that has no other model."""
    if path.is_file():
        return path if path.suffix == ".gguf" else None
    if not path.is_dir() or (path / "config.json").exists():
        return None
    files = sorted(path.glob("*.gguf"))
    if len(files) > 1:
        raise ModelError(f"{path} holds {len(files)} GGUF files; name one of them: {', '.join(file.name for file in files)}")
    return files[0] if files else None


def origin(model: str) -> dict[str, Any] | None:
    """What a model was read from where that was a GGUF file: its name, hash, family, quantisation and licence."""
    file = file_of(Path(model).expanduser())
    return json.loads((opened(file) / ORIGIN).read_text()) if file else None


def opened(file: Path) -> Path:
    """The directory with what was read from this file; read now where it has not been."""
    digest = durable.hash_of(file)
    place = kept() / f"{file.stem}-{digest[:16]}"
    if (place / ORIGIN).is_file():
        return place
    if missing := [name for name in NEEDS if importlib.util.find_spec(name) is None]:
        raise ModelError(f"{file} is a GGUF file, and {' and '.join(missing)} to read it is not installed: pip install 'strop[gguf]'")
    about = {"file": file.name, "sha256": digest, **described(file)}
    print(
        f"{file.name}: {about['family']}, {about['quantisation']}. It is read into float32, once, in a minute or two, and kept in {place}",
        file=sys.stderr,
        flush=True,
    )
    beside = place.with_name(f"{place.name}.{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        _read(file, beside, about["family"])
        (beside / ORIGIN).write_text(json.dumps(about, indent=2) + "\n")
        durable.publish(beside, place)
    except Exception as error:  # whoever writes: safetensors has an error of its own
        if "No space left on device" not in str(error):
            raise
        raise ModelError(f"no room for {file.name} in {place.parent}. Make room there, or name another place in XDG_CACHE_HOME.") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return place


def kept() -> Path:
    """Where models that were read are kept."""
    return durable.cached("gguf")


def described(file: Path) -> dict[str, str]:
    """Family, quantisation and licence, from the file's head alone."""
    from transformers.integrations.gguf.reader import read_gguf_metadata

    try:
        head, _ = read_gguf_metadata(str(file))
    except (ValueError, IndexError, OverflowError, UnicodeDecodeError, struct.error) as error:
        raise ModelError(f"{file} is no GGUF file that can be read: {first_line(error)}") from error
    kind = head.get("general.file_type")
    return {
        "family": str(head["general.architecture"]),
        "quantisation": _names().get(kind, "quantisation not named") if isinstance(kind, int) else "quantisation not named",
        "licence": str(head.get("general.license", "not named")),
    }


def _names() -> dict[int, str]:
    """What GGUF's numbers of quantisations are called: 15 is Q4_K_M."""
    import gguf

    return {int(kind): kind.name.removeprefix("MOSTLY_").removeprefix("ALL_") for kind in gguf.LlamaFileType}


def _read(file: Path, out: Path, family: str) -> None:
    import torch
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    where: dict[str, Any] = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name, "trust_remote_code": False}
    with _quiet(), _parsed_once():
        try:
            config = transformers.AutoConfig.from_pretrained(**where)
        except Exception as error:  # its reader raises what it meets
            raise ModelError(
                f"{file} cannot be read: it is damaged, or transformers reads no GGUF of the family {family!r}. {first_line(error)}"
            ) from error
        if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
            raise ModelError(f"{file} holds {config.model_type}, not a causal language model; strop trains those.")
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
            model: Any = transformers.AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
        except Exception as error:
            raise ModelError(f"{file} is damaged, or not whole: {first_line(error)}") from error
    if model.config.vocab_size < len(tokenizer):
        raise ModelError(f"{file} has {model.config.vocab_size} embeddings and {len(tokenizer)} tokens: it is damaged.")
    model.hf_quantizer = None  # it is no longer quantised
    for mark in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(model.config, mark):
            delattr(model.config, mark)
    model.config.architectures = [type(model).__name__]
    model.save_pretrained(out, safe_serialization=True)
    tokenizer.save_pretrained(out)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the reader's bar of its own and numpy's warning of an array that is only read."""
    with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _parsed_once() -> Iterator[None]:
    """transformers opens the file for the config, for the tokenizer and for the weights, and most of its time goes into parsing it."""
    import gguf

    each = gguf.GGUFReader
    gguf.GGUFReader = cache(each)
    try:
        yield
    finally:
        gguf.GGUFReader = each
