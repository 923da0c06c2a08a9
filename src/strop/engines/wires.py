"""How strop reaches a vLLM: over HTTP to a server that is there or that it starts, or in its own process. One small protocol for both."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from strop.aside import Loop
from strop.engines.vllm_side import serve
from strop.seams.engine import EngineLost

STARTER = Path(serve.__file__)
KEEP_ALIVE = 60.0
"""Seconds an idle connection is kept: less than the server's own hour, so that it is never closed under a request."""


BUSY = 5.0
"""Seconds in which a server that is not busy says how far it is."""
GENERATE = "/inference/v1/generate"


class VllmError(ValueError):
    """What vLLM did or did not do, where, and what to do about it."""


class VllmGone(VllmError, EngineLost):
    """It ended, or does not answer."""


class NoAdapters(VllmError):
    """A server that was started without LoRA."""


@dataclass(frozen=True)
class Written:
    """What vLLM says of one request."""

    tokens: tuple[int, ...]
    logp: tuple[float, ...]
    finish: str
    """`stop` (a string or an end token) or `length`."""
    versions: tuple[str, ...]
    """Labels of the weights that drew the tokens, in order."""
    cached: int
    """Positions of the prompt that were not computed again."""
    past: tuple[Mapping[int, float], ...] = ()
    """For each token of the prompt after the first: log-probabilities by token id, of the weights as they are, unshaped."""


class Wire(Protocol):
    where: str
    """For messages."""

    async def write(self, tokens: Sequence[int], sampling: Mapping[str, Any], adapter: str | None) -> Written: ...

    async def load(self, file: Path, digests: Mapping[str, str], label: str) -> list[Mapping[str, Any] | None]:
        """Weights from this file, known by this label from here on; no cached position outlives it. Gives what each worker says."""
        ...

    async def adapt(self, name: str, directory: Path, label: str) -> None:
        """A LoRA adapter in peft's format, under this name beside the weights."""
        ...

    async def forget(self, name: str) -> None:
        """That adapter is asked for no more."""
        ...

    async def pulse(self) -> float:
        """A number that moves while vLLM computes, in the middle of requests too."""
        ...

    async def leave(self) -> None:
        """The last thing done in its loop."""
        ...

    def close(self) -> None: ...


# Over HTTP.


class Served:
    """A server that is there already, started by `serve.py`."""

    def __init__(self, url: str, deadline: float):
        import httpx2

        self.where, self.deadline = url, deadline
        scheme, _, path = url.partition("://")
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=KEEP_ALIVE)
        transport = httpx2.AsyncHTTPTransport(uds=path if scheme == "unix" else None, limits=limits)
        base = "http://vllm" if scheme == "unix" else url.rstrip("/")
        self._client = httpx2.AsyncClient(base_url=base, transport=transport, timeout=httpx2.Timeout(None, connect=min(10.0, deadline)))

    async def write(self, tokens: Sequence[int], sampling: Mapping[str, Any], adapter: str | None) -> Written:
        asked = {"token_ids": list(tokens), "sampling_params": dict(sampling), **({"model": adapter} if adapter else {})}
        said = await self._post(GENERATE, asked)
        try:
            choice, usage = said["choices"][0], said["usage"]
            drawn = [(int(each["token_id"]), float(each["logprob"])) for each in choice["logprobs"]["content"]]
            past = tuple({int(k): float(v["logprob"]) for k, v in each.items()} for each in (said["prompt_logprobs"] or ()) if each)
            if [token for token, _ in drawn] != choice["token_ids"]:
                raise ValueError("its log-probabilities are not those of its tokens")
            return Written(
                tuple(choice["token_ids"]),
                tuple(logp for _, logp in drawn),
                choice["finish_reason"],
                tuple(span["version"] for span in choice["weight_versions"] or ()),
                (usage["prompt_tokens_details"] or {}).get("cached_tokens") or 0,
                past,
            )
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise VllmError(f"vLLM at {self.where} answered in a form this strop does not know ({error!r}). {self.advice()}") from error

    async def load(self, file: Path, digests: Mapping[str, str], label: str) -> list[Mapping[str, Any] | None]:
        await self._post("/start_weight_update")
        await self._post("/update_weights", {"update_info": {"file": str(file), "digests": dict(digests)}})
        await self._post("/finish_weight_update", {"weight_version": label})
        await self._cold()
        return (await self._post("/collective_rpc", {"method": "strop_delivered"}))["results"]

    async def adapt(self, name: str, directory: Path, label: str) -> None:
        try:
            await self._post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(directory)})
        except VllmError as error:
            if "LoRA is not enabled" in str(error) or "/v1/load_lora_adapter (404)" in str(error):
                raise NoAdapters(str(error)) from error
            raise
        await self._post("/update_weight_version", {"new_version": label})
        await self._cold()

    async def forget(self, name: str) -> None:
        await self._post("/v1/unload_lora_adapter", {"lora_name": name})

    async def _cold(self) -> None:
        until = time.monotonic() + BUSY
        while not (await self._post("/reset_prefix_cache"))["success"]:  # what was taken back a moment ago may still be ending
            if time.monotonic() > until:
                raise VllmError(
                    f"vLLM at {self.where} could not empty its prefix cache after a delivery: somebody else's requests are running. "
                    "Train on a server of your own."
                )
            await asyncio.sleep(0.1)

    async def pulse(self) -> float:
        """Positions that vLLM has computed so far, by its own count; none where it is too busy to say."""
        import httpx2

        try:
            answer = await self._client.get("/metrics", timeout=BUSY)
        except httpx2.TimeoutException:
            return 0.0
        except httpx2.HTTPError as error:
            raise VllmGone(f"vLLM at {self.where} is not there ({type(error).__name__} {error}). {self.advice()}") from error
        counts = re.findall(r"^vllm:(?:prompt|generation)_tokens_total\{.*\} (\S+)$", answer.text, re.MULTILINE)
        return sum(map(float, counts))

    async def leave(self) -> None:
        await self._client.aclose()

    async def ready(self) -> bool:
        import httpx2

        try:
            return (await self._client.get("/health", timeout=5.0)).status_code == 200
        except httpx2.HTTPError:
            return False

    async def _post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        import httpx2

        try:
            async with asyncio.timeout(self.deadline):
                try:
                    answer = await self._client.post(path, json=body)
                except (httpx2.RemoteProtocolError, httpx2.ReadError):
                    if path != GENERATE:
                        raise
                    answer = await self._client.post(path, json=body)  # the connection was cut; its seed makes it the same request
        except TimeoutError:
            raise VllmGone(f"vLLM at {self.where} did not answer {path} within {self.deadline:g} s. {self.advice()}") from None
        except httpx2.HTTPError as error:
            raise VllmGone(f"vLLM at {self.where} is not there ({path}: {type(error).__name__} {error}). {self.advice()}") from error
        if answer.status_code == 200:
            return answer.json() if answer.content[:1] in b"{[" and answer.content else None
        if answer.status_code in (403, 404) or "not configured" in answer.text:
            raise VllmError(
                f"vLLM at {self.where} has no {path} ({answer.status_code}): it was not started for training. "
                f"Start it with:  VLLM_PYTHON {STARTER} --model MODEL --port PORT"
            )
        kind = VllmGone if answer.status_code >= 500 and not await self.ready() else VllmError  # its engine died, and it ends too
        raise kind(f"vLLM at {self.where} refused {path} ({answer.status_code}): {_said(answer.text)}. {self.advice()}")

    def advice(self) -> str:
        return "Look at its log; start it again and go on with the run."

    def close(self) -> None: ...


class Started(Served):
    """A server that strop started and owns, on a Unix socket that only this user can open. It ends with this process, however that ends."""

    def __init__(self, python: str, model: Path, arguments: Sequence[str], deadline: float, folder: Path):
        self.log, socket = folder / "server.log", folder / "s"
        command = [python, str(STARTER), "--owned", str(folder), "--model", str(model), "--uds", str(socket), *arguments]
        try:
            with self.log.open("wb") as log:
                self.process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=_own(os.environ), start_new_session=True
                )
        except OSError as error:
            raise VllmError(f"vLLM's Python {python!r} cannot be run: {error.strerror}. Set STROP_VLLM_PYTHON or vllm:python=…") from error
        self.url = f"unix://{socket}"
        super().__init__(self.url, deadline)
        self.where = f"{socket} (process {self.process.pid})"
        self.close = weakref.finalize(self, _end, self.process, folder)

    def wait(self, loop: Loop, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not loop.wait(self.ready(), 10):
            if self.process.poll() is not None or time.monotonic() > until:
                why = f"ended with code {self.process.returncode}" if self.process.poll() is not None else f"was not ready in {seconds:g} s"
                raise VllmError(f"the vLLM server that strop started {why}. {self.advice()}")
            time.sleep(0.25)

    def advice(self) -> str:
        kept = Path(tempfile.gettempdir()) / f"strop-vllm-{self.process.pid}.log"
        shutil.copyfile(self.log, kept)
        lines = [line for line in kept.read_text(errors="replace").splitlines() if re.search(r"^\w*Error: |ERROR .*Error: ", line)]
        return f"Its log is {kept}" + (f"; it says: {lines[-1].strip()[:300]}" if lines else ".")


def _own(environment: Mapping[str, str]) -> dict[str, str]:
    """What another Python's environment can use of this one's: not where this one finds its packages."""
    return {name: value for name, value in environment.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}


def _end(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Its standard input ends, so it does; with force after a while."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(serve.PATIENCE + 2)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(5)
    shutil.rmtree(folder, ignore_errors=True)


# In this process.


class Within:
    """vLLM's asynchronous engine in this process's environment; its workers are children of this process."""

    def __init__(self, model: Path, arguments: Mapping[str, Any], deadline: float, loop: Loop, start: float):
        if importlib.util.find_spec("vllm") is None:
            raise VllmError(
                "engine=vllm: vLLM is not installed here. Three ways: give the Python of an environment that has it (STROP_VLLM_PYTHON=…, "
                "or --engine vllm:python=…); give a server's address (--engine vllm:http://HOST:PORT); or install strop beside vLLM."
            )
        sys.path.append(str(STARTER.parent))  # vLLM's workers find strop_vllm there, as they do under a server
        self.where, self.deadline = "in this process", deadline
        self._numbers: dict[str, tuple[int, Path]] = {}
        self._held = [loop.wait(self._begin(model, arguments), start)]
        self.close = weakref.finalize(self, _shut, self._held, model.parent)

    @property
    def _llm(self) -> Any:
        return self._held[0]

    async def _begin(self, model: Path, arguments: Mapping[str, Any]) -> Any:
        from vllm import AsyncEngineArgs  # pyright: ignore
        from vllm.config import WeightTransferConfig  # pyright: ignore[reportMissingImports]
        from vllm.v1.engine.async_llm import AsyncLLM  # pyright: ignore[reportMissingImports]

        asked = AsyncEngineArgs(
            model=str(model),
            weight_transfer_config=WeightTransferConfig(backend="strop"),
            disable_log_stats=True,
            **serve.settle(),
            **arguments,
        )
        return AsyncLLM.from_engine_args(asked)

    async def write(self, tokens: Sequence[int], sampling: Mapping[str, Any], adapter: str | None) -> Written:
        from vllm import SamplingParams, TokensPrompt  # pyright: ignore
        from vllm.lora.request import LoRARequest  # pyright: ignore[reportMissingImports]
        from vllm.sampling_params import RequestOutputKind  # pyright: ignore[reportMissingImports]

        asked = SamplingParams(**sampling, output_kind=RequestOutputKind.FINAL_ONLY)
        number, directory = self._numbers[adapter] if adapter else (0, Path())
        lora = LoRARequest(adapter, number, str(directory)) if adapter else None
        last: Any = None
        try:
            async with asyncio.timeout(self.deadline):
                async for last in self._llm.generate(  # noqa: B007
                    TokensPrompt(prompt_token_ids=list(tokens)), asked, uuid.uuid4().hex, lora_request=lora
                ):
                    pass
        except TimeoutError:
            raise VllmError(f"vLLM {self.where} did not answer within {self.deadline:g} s.") from None
        except Exception as error:
            raise VllmError(f"vLLM {self.where} failed: {type(error).__name__}: {_said(str(error))}") from error
        made = last.outputs[0]
        drawn = tuple(each[token].logprob for token, each in zip(made.token_ids, made.logprobs or (), strict=True))
        past = tuple({k: v.logprob for k, v in each.items()} for each in (last.prompt_logprobs or ()) if each)
        versions = tuple(span.version if hasattr(span, "version") else span["version"] for span in made.weight_versions or ())
        return Written(tuple(made.token_ids), drawn, made.finish_reason, versions, last.num_cached_tokens or 0, past)

    async def load(self, file: Path, digests: Mapping[str, str], label: str) -> list[Mapping[str, Any] | None]:
        from vllm.distributed.weight_transfer.base import WeightTransferUpdateRequest  # pyright: ignore[reportMissingImports]

        try:
            await self._llm.start_weight_update()
            await self._llm.update_weights(WeightTransferUpdateRequest(update_info={"file": str(file), "digests": dict(digests)}))
            await self._llm.finish_weight_update(label)
            await self._cold()
            return list(await self._llm.collective_rpc("strop_delivered"))
        except VllmError:
            raise
        except Exception as error:
            raise VllmError(f"vLLM {self.where} refused a delivery: {_said(str(error))}") from error

    async def adapt(self, name: str, directory: Path, label: str) -> None:
        from vllm.lora.request import LoRARequest  # pyright: ignore[reportMissingImports]

        self._numbers[name] = (max((n for n, _ in self._numbers.values()), default=0) + 1, directory)
        await self._llm.add_lora(LoRARequest(name, self._numbers[name][0], str(directory)))
        await self._llm.update_weight_version(label)
        await self._cold()

    async def forget(self, name: str) -> None:
        await self._llm.remove_lora(self._numbers.pop(name)[0])

    async def pulse(self) -> float:
        """Nothing tells from outside what it computes; what it was asked for has a deadline."""
        return time.monotonic()

    async def leave(self) -> None: ...

    async def _cold(self) -> None:
        if not await self._llm.reset_prefix_cache():
            raise VllmError(f"vLLM {self.where} could not empty its prefix cache after a delivery: requests are running.")


def _shut(held: list[Any], folder: Path) -> None:
    held.pop().shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def _said(text: str) -> str:
    """The sentence inside a server's answer."""
    import json

    try:
        found = json.loads(text)
        found = found.get("error", found) if isinstance(found, dict) else found
        text = str(found.get("message", found.get("detail", found))) if isinstance(found, dict) else str(found)
    except ValueError:
        pass
    return " ".join(text.split())[:500] or "no reason given"


def report(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
