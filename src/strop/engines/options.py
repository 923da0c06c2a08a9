"""What a recipe may say about its engine, after the name: `vllm`, `vllm:python=/opt/vllm/bin/python`, `vllm:http://10.0.0.2:8000,deadline=60`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from strop.seams.part import nearest


@dataclass(frozen=True)
class Embedded:
    """Has no options of its own: slots and cache are fields of the recipe."""


@dataclass(frozen=True)
class Vllm:
    url: str = ""
    """A server that is there already. Without one and without `python`, vLLM runs in this process's environment, where it is installed."""
    python: str = ""
    """Starts a server with the Python of vLLM's environment [STROP_VLLM_PYTHON]."""
    dtype: str = ""
    """Of vLLM's weights and arithmetic [the model's own]."""
    length: int = 0
    """Longest row in tokens [the model's own, as far as memory goes]."""
    memory: float = 1.0
    """GiB for keys and values on a CPU."""
    directory: str = ""
    """Where weights are laid for vLLM to read: a place that both machines see [a temporary one on this machine]."""
    deadline: float = 600.0
    """Seconds that one request may take, a delivery too."""
    start: float = 600.0
    """Seconds that a server may take to start."""


@dataclass(frozen=True)
class Remote:
    url: str = ""
    """Up to `/v1`: chat/completions is below it."""
    at_once: int = 16
    """Requests under way at one time."""
    deadline: float = 120.0
    """Seconds that one try may take."""
    tries: int = 5
    """Of one request, with growing pauses between them."""


KINDS: dict[str, type] = {"embedded": Embedded, "vllm": Vllm, "remote": Remote}


def read(engine: str) -> Any:
    """The options of `name:url,option=value,…`, checked; unknown ones are refused with the nearest."""
    name, _, rest = engine.partition(":")
    kind = KINDS[name]
    known = {f.name: {"str": str, "int": int, "float": float}[str(f.type)] for f in fields(kind)}
    found: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in rest.split(","))):
        option, equals, value = (piece.strip() for piece in part.partition("="))
        if "://" in option:
            option, equals, value = "url", "=", part
        if option not in known:
            said = nearest(option, known) if known else f"{name} has none."
            raise ValueError(f"engine={engine!r}: no option {option!r}. {said}")
        if not equals or not value or option in found:
            raise ValueError(f"engine={engine!r}: write {option}=VALUE, once")
        try:
            found[option] = known[option](value)
        except ValueError:
            raise ValueError(f"engine={engine!r}: {option} is a number, got {value!r}") from None
        if known[option] is not str and not 0 < found[option] < float("inf"):
            raise ValueError(f"engine={engine!r}: {option} is above 0, got {value}")
    if "url" in found and "python" in found:
        raise ValueError(f"engine={engine!r}: a server is there already (url) or started (python), not both")
    if found.get("url", "http://").partition("://")[0] not in ("http", "https", "unix"):
        raise ValueError(f"engine={engine!r}: a url begins with http://, https:// or unix://")
    if found.get("url", "").startswith("http") and set("@?#") & set(found["url"]):
        raise ValueError(f"engine={name}:…: a url is an address alone, since runs record it; a key goes into STROP_REMOTE_KEY")
    return kind(**found)
