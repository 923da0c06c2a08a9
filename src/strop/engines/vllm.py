"""The vLLM engine: rollouts by vLLM, on weights that are delivered to it after each update.

Tokens go in and tokens come out, with log-probabilities of the very distribution they were drawn from: temperature and allowed ids are in
them. vLLM computes with kernels of its own, so they are not the learner's (`own` is False): the learner's are measured, and the method's
correction bridges the two. `Generate` twice on a node is a fork, served by vLLM's prefix cache.

A delivery is whole or refused: every tensor is hashed here and by vLLM's workers, who load nothing that differs. Each has a label, and
every token that vLLM draws says by which label's weights; tokens of another label are refused. That what was loaded is also
what is computed with, only the tripwires' canary can say: `stale-weights`, `undelivered-weights`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
import uuid
import weakref
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from strop.aside import Loop
from strop.engines import draw, options
from strop.engines.vllm_side import serve
from strop.engines.vllm_side.strop_sums import checksum, digest
from strop.engines.wires import NoAdapters, Served, Started, VllmError, Wire, Within, report
from strop.policies import adapters
from strop.policies.twin import rounded
from strop.records import Author, Sampling, Segment, Stop
from strop.seams.compute import Quantized
from strop.seams.engine import ROUNDED, Counters, Footprint, Node, called, inside, refuse, unchosen

if TYPE_CHECKING:
    from strop.recipe import Recipe

COLDEST = 0.01
"""vLLM raises a temperature below this to this, and would so draw from another distribution than it was asked for."""
WHOLE = 1 << 23
"""Entries of distributions that one `score` may ask for, where a token's log-probability alone does not tell it."""

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The largest ranks of adapters that a vLLM can be set to."""

EXACT = {"undelivered-weights": 1e-4, "stale-weights": 1e-4, "mismatch-ratio": 1.05, "mismatch-kl": 1e-3, "mismatch-ess": 0.999}
"""Limits of tripwires with vLLM in float32; in 16 bits they are `ROUNDED`."""


def asked(policy: Any, recipe: Recipe) -> VllmEngine:
    """The vLLM that `recipe.engine` names: a server's address, the Python to start one with, or neither, in this process."""
    chosen: options.Vllm = options.read(recipe.engine)
    loop = Loop("strop-vllm")
    compute = recipe.resolved().compute
    dtype = chosen.dtype or (compute.dtype if isinstance(compute, Quantized) else str(policy.dtype).removeprefix("torch."))
    if chosen.url:
        wire: Wire = Served(chosen.url, chosen.deadline)
        return VllmEngine(policy, wire, loop, chosen, seed=recipe.seed, slots=recipe.slots, dtype=dtype)
    folder = Path(tempfile.mkdtemp(prefix="strop-vllm-", dir=None if len(tempfile.gettempdir()) < 60 else "/tmp"))
    model = folder / "model"
    policy.model.config.save_pretrained(model)
    policy.tokenizer.save_pretrained(model)
    knobs: dict[str, Any] = {
        "load_format": "dummy",  # every weight is delivered, the first ones too
        "dtype": dtype,
        "max_num_seqs": recipe.slots,
        "max_model_len": chosen.length or -1,
        "generation_config": "vllm",
        "seed": recipe.seed,
        "served_model_name": "strop",
    }
    if policy.device.type == "cpu":
        knobs["kv_cache_memory_bytes"] = int(chosen.memory * 2**30)
    if policy.adapter is not None:
        # Named modules, so that the head is none of them: with one, asking for a prompt's log-probabilities ends vLLM 0.32 on a CPU.
        modules = sorted(policy.adapter.peft_config[adapters.NAME].target_modules)
        rank = next(rank for rank in RANKS if rank >= recipe.lora)
        knobs |= {"enable_lora": True, "max_loras": 2, "max_cpu_loras": 2, "max_lora_rank": rank, "lora_target_modules": modules}
    python = chosen.python or os.environ.get("STROP_VLLM_PYTHON", "")
    if python:
        started = Started(python, model, serve.flags(knobs), chosen.deadline, folder)
        report(f"starting vLLM, process {started.process.pid}")
        chosen = chosen if chosen.directory else replace(chosen, directory=str(folder))  # weights go where the server's files go
        started.wait(loop, chosen.start)
        wire = started
    else:
        wire = Within(model, knobs, chosen.deadline, loop, chosen.start)
    return VllmEngine(policy, wire, loop, chosen, seed=recipe.seed, slots=recipe.slots, dtype=dtype)


class VllmEngine:
    """Asks a vLLM over a wire; at most `slots` requests are under way, each with a deadline of its own."""

    name = "actor"
    own = False
    grade = "statistical"

    def __init__(self, policy: Any, wire: Wire, loop: Loop, chosen: options.Vllm, *, seed: int, slots: int, dtype: str):
        self.policy, self.wire, self.tokenizer, self.eos_ids, self.dtype = policy, wire, policy.tokenizer, tuple(policy.eos), dtype
        self.seed, self.step, self.version, self.counters = seed, 0, 0, Counters()
        self.wrote: set[int] = set()
        """Hashes of the contexts that this step's actions ended."""
        self.limits: Mapping[str, float] = EXACT if dtype == "float32" else ROUNDED
        config = policy.model.config.get_text_config()
        self.limit = chosen.length or getattr(config, "max_position_embeddings", None) or 1 << 31
        self.vocab = int(config.vocab_size)
        self.who = uuid.uuid4().hex[:8]
        """Its deliveries' first name: somebody else's weights on the same server are not taken for them."""
        self.label = ""
        self.adapter: str | None = None
        """The adapter that requests ask for; None where the weights are whole."""
        self.lora: Literal["adapter", "merged"] | None = None if policy.adapter is None else "adapter"
        """How a policy with adapters is delivered: as one beside the first weights, or merged where the server takes none."""
        self._loop, self._deadline, self._asked = loop, chosen.deadline, 0
        self._room = asyncio.Semaphore(slots)
        self._folder = Path(tempfile.mkdtemp(prefix="strop-weights-", dir=chosen.directory or None))
        self.close = weakref.finalize(self, _close, wire, loop, self._folder)
        try:
            self.deliver(0)
        except BaseException:
            self.close()
            raise

    # What coroutines call.

    async def open(self, tokens: Sequence[int], *, root: str, ordinal: int = 0) -> Node:
        tokens = inside(tokens, "a prompt", self.vocab)
        return Node(Segment("prompt", tokens, called((ordinal,))), None, (ordinal,), root, self.version, length=len(tokens))

    def generate(
        self, node: Node, *, max: int, stop: tuple[str, ...] = (), sampling: Sampling = Sampling(), keep: bool = True
    ) -> Coroutine[Any, Any, Node]:
        refuse(node, max, stop, sampling, limit=self.limit, tokenizer=self.tokenizer)
        if 0 < sampling.temperature < COLDEST:
            raise ValueError(f"vLLM draws at temperatures of {COLDEST} and above, or greedily at 0; got {sampling.temperature}.")
        return self._generate(node, node.next(), max, tuple(stop), sampling)

    def extend(self, node: Node, tokens: Sequence[int], *, kind: Literal["observation", "forced"]) -> Coroutine[Any, Any, Node]:
        return self._extend(node, unchosen(tokens, kind, self.vocab), node.next(), kind)

    async def score(self, node: Node) -> tuple[float, ...]:
        """An action is scored under the temperature and allowed ids it was drawn with. vLLM tells log-probabilities of a prompt unshaped:
        where those are not plain, whole distributions are asked for and shaped here."""
        if node.parent is None:
            raise ValueError("a prompt's first token has no past to be scored by; score a node under it.")
        sampling = node.segment.author.sampling if node.segment.author is not None else Sampling()
        plain = sampling == Sampling()
        if not plain and node.length * self.vocab > WHOLE:
            raise ValueError(
                f"scoring {node.length} tokens drawn with {sampling} needs a distribution over {self.vocab} ids for each, which is more "
                "than a server should send. Draw with temperature 1 and all ids, or score with the learner."
            )
        asked = {"max_tokens": 1, "temperature": 0.0, "logprobs": 0, "prompt_logprobs": 0 if plain else -1, "detokenize": False}
        told = await self._write(node.tokens, asked)
        self.counters.scored += node.length
        tokens = node.segment.tokens
        past = told.past[-len(tokens) :]
        if plain:
            return tuple(each[token] for token, each in zip(tokens, past, strict=True))
        logits = torch.tensor([[each.get(i, -torch.inf) for i in range(self.vocab)] for each in past])
        return tuple(draw.logp_of(logits, torch.tensor(tokens), sampling).tolist())

    def admit(self, footprint: Footprint) -> AbstractAsyncContextManager[None]:
        """vLLM evicts and computes again as it sees fit, so nothing is held and nobody waits here: requests wait for their turn."""
        return _free()

    def begin(self, step: int) -> None:
        self.step = step
        self.wrote.clear()

    def deliver(self, version: int) -> None:
        """All weights, under a new label; from here on nothing else is computed with. A delivery that did not arrive whole is an error."""
        if self._asked:
            raise RuntimeError(
                f"weights of version {version} were delivered while {self._asked} requests were being written. "
                "Wait for them first: a weight change in the middle of a segment is not built."
            )
        label = f"{self.who}/{version}"
        if self.lora == "adapter":
            self._adapt(label)
        else:
            self._send(label, self.policy.weights())
        self.version, self.label = version, label

    def _adapt(self, label: str) -> None:
        """The adapter alone, under a name that no other delivery has; the weights beside it were sent once."""
        if self.adapter is None:
            self._send(label, adapters.beside(self.policy.model))
        name = f"{label.replace('/', '-')}-{uuid.uuid4().hex[:4]}"
        adapters.save(self.policy.adapter, self._folder / name)
        place = self._folder / name / adapters.DIRECTORY
        try:
            self._loop.wait(self.wire.adapt(name, place, label), self._deadline)
        except NoAdapters:
            self.lora = "merged"
            self._send(label, self.policy.weights())
            return
        finally:
            before, self.adapter = self.adapter, name if self.lora == "adapter" else None
        if before is not None:
            self._loop.wait(self.wire.forget(before), self._deadline)
            shutil.rmtree(self._folder / before, ignore_errors=True)

    def _send(self, label: str, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        from safetensors.torch import save_file

        tensors = {name: self._rounded(tensor.detach()).cpu().contiguous() for name, tensor in weights}
        digests = {name: digest(tensor) for name, tensor in tensors.items()}
        file = self._folder / f"{label.partition('/')[2]}.safetensors"
        try:
            save_file(tensors, file)
            loaded = self._loop.wait(self.wire.load(file, digests, label), 4 * self._deadline)
        finally:
            file.unlink(missing_ok=True)
        sent = checksum(digests)
        for worker, said in enumerate(loaded):
            if said is None or said["checksum"] != sent:
                arrived = "nothing" if said is None else said["checksum"][:12]
                raise VllmError(
                    f"delivery {label}: worker {worker} of vLLM at {self.wire.where} loaded {arrived}, and {sent[:12]} was sent. "
                    "Start the server again and go on with the run."
                )

    def _rounded(self, weight: torch.Tensor) -> torch.Tensor:
        """As a twin is (`strop.policies.twin`): vLLM itself would round to the nearest."""
        twin = self.dtype == "bfloat16" and self.policy.compute != torch.bfloat16
        return rounded(weight, torch.bfloat16) if twin else weight

    # Coroutines.

    async def pulse(self) -> float:
        """Moves while vLLM computes; the counters here move only when an action ends."""
        return await self._loop.ask(self.wire.pulse())

    async def _write(self, tokens: Sequence[int], sampling: Mapping[str, Any]) -> Any:
        self._asked += 1
        try:
            told = await self._loop.ask(self._in_turn(tokens, sampling))
        finally:
            self._asked -= 1
        if set(told.versions) != {self.label}:
            labels = " and ".join(sorted(set(told.versions))) or "of no label"
            raise VllmError(
                f"vLLM at {self.wire.where} computed with weights {labels}, not with the last delivery, {self.label}. "
                "Either a delivery was skipped, or another run delivers to the same server: give each its own."
            )
        return told

    async def _in_turn(self, tokens: Sequence[int], sampling: Mapping[str, Any]) -> Any:
        async with self._room:
            return await self.wire.write(tokens, sampling, self.adapter)

    async def _generate(self, node: Node, path: tuple[int, ...], most: int, stop: tuple[str, ...], sampling: Sampling) -> Node:
        asked: dict[str, Any] = {
            "max_tokens": most,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "seed": draw.key(self.seed, self.step, node.root, path) >> 1,  # 63 bits, as many as it takes
            "logprobs": 0,
            "ignore_eos": True,
            "stop_token_ids": list(self.eos_ids),
            "detokenize": bool(stop),
        }
        if sampling.allowed is not None:
            asked["allowed_token_ids"] = list(sampling.allowed)
        if stop:
            asked |= {"stop": list(stop), "skip_special_tokens": False, "spaces_between_special_tokens": False}
        prompt = node.tokens
        told = await self._write(prompt, asked)
        self.counters.prefilled += len(prompt) - told.cached
        self.counters.decoded += len(told.tokens)
        ended: Stop = "finished" if told.tokens[-1] in self.eos_ids else "length" if told.finish == "length" else "stop"
        logp = told.logp if sampling.temperature else (0.0,) * len(told.tokens)  # greedy: it was certain
        if not np.isfinite(logp).all():
            raise FloatingPointError(
                f"vLLM's log-probabilities at version {self.version} are not finite. The weights diverged: lower the learning rate or clip "
                "the gradient."
            )
        segment = Segment("action", told.tokens, called(path), Author(self.name, self.version, sampling), logp)
        made = Node(segment, node, path, node.root, self.version, ended, node.length + len(told.tokens))
        self.wrote.add(hash(made.tokens))
        return made

    async def _extend(self, node: Node, tokens: tuple[int, ...], path: tuple[int, ...], kind: Literal["observation", "forced"]) -> Node:
        return Node(Segment(kind, tokens, called(path)), node, path, node.root, self.version, length=node.length + len(tokens))


@asynccontextmanager
async def _free() -> AsyncIterator[None]:
    yield


def _close(wire: Wire, loop: Loop, folder: Path) -> None:
    with contextlib.suppress(TimeoutError):
        loop.wait(wire.leave(), 5)
    wire.close()
    loop.close()
    shutil.rmtree(folder, ignore_errors=True)
