"""A causal language model as a policy: load, render, evaluate decisions, export. safetensors only, no remote code."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from strop import durable
from strop.batch import Batch
from strop.policies import adapters, config, gguf, seedling, shared
from strop.policies.chat import Chat, ChatRenderer, ModelError, eos_ids, first_line, templated
from strop.policies.forward import parted
from strop.policies.likelihood import Draws, likelihood
from strop.policies.products import products
from strop.seams import layout
from strop.seams.head import Head

if TYPE_CHECKING:
    from strop.recipe import Recipe

LOGITS_AT_ONCE = 2**25
"""Logits held at one time; above it decisions are scored in chunks that are computed again in the backward pass."""


def of(recipe: Recipe, device: str = "") -> CausalPolicy:
    """The policy that a recipe trains, as it begins; where the recipe leaves the device open, a GPU if there is one."""
    policy = load(recipe.model, device=device or device_of(recipe), chat=recipe.prompts, seed=recipe.seed)
    if recipe.lora:
        policy.adapter = adapters.adapt(policy.model, recipe.lora, recipe.lora_targets, recipe.seed)
    policy.compute = getattr(torch, recipe.dtype)
    if recipe.checkpointing:
        recomputing(policy)
    return policy


def device_of(recipe: Recipe) -> str:
    """Where its policies are."""
    return recipe.device if recipe.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")


def blank(recipe: Recipe) -> tuple[CausalPolicy, Any]:
    """The same from its config.json alone, of tensors that have shapes and no content, and the mode in which they can be computed with."""
    import transformers
    from torch._subclasses.fake_tensor import FakeTensorMode

    read = seedling.config(recipe.model) if seedling.is_one(recipe.model) else config.opened(_locate(recipe.model), recipe.model)
    with torch.device("meta"):
        try:
            model = transformers.AutoModelForCausalLM.from_config(read, dtype=torch.float32).eval()
        except Exception as error:  # whatever a library makes of a file of others
            raise ModelError(f"model {recipe.model!r} cannot be built from its config.json: {config.why(error)}") from error
        adapter = adapters.adapt(model, recipe.lora, recipe.lora_targets, recipe.seed) if recipe.lora else None
        policy = CausalPolicy(model, SimpleNamespace(eos_token_id=0), recipe.model)
        for head in recipe.resolved().heads:
            policy.add_head(head)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    made: dict[int, nn.Parameter] = {}
    with mode:
        for module in (*model.modules(), *policy.heads.modules()):
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    fresh = nn.Parameter(torch.empty(parameter.shape), requires_grad=parameter.requires_grad)
                    module._parameters[name] = made.setdefault(id(parameter), fresh)
            for name, buffer in module._buffers.items():
                module._buffers[name] = None if buffer is None else torch.empty(buffer.shape, dtype=buffer.dtype)
    policy.adapter, policy.compute, policy._split = adapter, getattr(torch, recipe.dtype), True
    if recipe.checkpointing:
        recomputing(policy)
    return policy, mode


def renderer(recipe: Recipe) -> ChatRenderer:
    """What writes the recipe's prompts, without the model."""
    written = templated(config.tokenizer(_locate(recipe.model), recipe.model), recipe.model, recipe.prompts)
    written.check()
    return written


def recomputing(policy: CausalPolicy) -> None:
    """Its layers keep their inputs alone and are computed again in the backward pass, by the same products."""
    model = policy.model
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable  # before transformers 5.20
    enable({"use_reentrant": False, "context_fn": lambda: (nullcontext(), policy.products())})


DROPOUTS = ("dropout", "attention_dropout", "activation_dropout", "attn_dropout", "hidden_dropout", "resid_dropout", "layerdrop")


def undropped(model: Any) -> Any:
    """Nothing is dropped at random, in whichever mode a library puts the model: layers that are computed again ask for the training one."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in DROPOUTS:
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return model


def load(name: str, *, device: str = "cpu", dtype: torch.dtype = torch.float32, chat: Chat | None = None, seed: int = 0) -> CausalPolicy:
    """A bundled name (`pico`), a seedling of this seed, a directory in Hugging Face format, or a hub id already in the local cache or
    reachable."""
    import transformers
    from safetensors import SafetensorError

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    path = _locate(name)
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(f"device={device!r}: torch sees no such device on this machine. Leave --device out, or say cpu.")
    if seedling.is_one(name):
        grown = seedling.grown(name, seed, dtype).to(torch.device(device))
        return CausalPolicy(undropped(grown.eval()), config.tokenizer(path, name), name, chat=chat)
    _sealed(Path(path), name)
    read = config.opened(path, name)
    known = transformers.models.auto.modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    made_for = [read.architectures] if isinstance(read.architectures, str) else [str(made) for made in read.architectures or []]
    if read.model_type not in known or (
        made_for and not any("CausalLM" in a or "ConditionalGeneration" in a or "LMHead" in a for a in made_for)
    ):
        raise ModelError(f"model {name!r} is {'/'.join(made_for) or read.model_type}, not a causal language model; strop trains those.")
    directory = Path(path)
    if directory.is_dir() and not list(directory.glob("*.safetensors")):
        pickles = [p.name for p in directory.glob("*.bin")] + [p.name for p in directory.glob("*.pt")]
        found = f"only pickle files ({', '.join(pickles)}), which can run code when loaded" if pickles else "no weights"
        raise ModelError(f"model {name!r} has {found}. Save it with `model.save_pretrained(path)`, which writes safetensors.")
    try:
        how: dict[str, Any] = {"trust_remote_code": False, "use_safetensors": True, "dtype": dtype}
        loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(path, **how, output_loading_info=True)
        model, told = loaded
    except SafetensorError as error:
        raise ModelError(f"model {name!r}: its weights file is damaged ({first_line(error)}). Copy or export it again.") from error
    except Exception as error:  # whatever a library makes of files of others
        if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _is_memory(error)):
            raise
        shapes = "its weights have other shapes than its config.json says: one of the two is another model's"
        raise ModelError(
            f"model {name!r} cannot be loaded: {shapes if 'ignore_mismatched_sizes' in str(error) else config.why(error)}"
        ) from error
    tokenizer = config.tokenizer(path, name)
    if absent := sorted(told["missing_keys"]):  # tied ones are not among them; the loader would leave these at random
        unread = sorted(told["unexpected_keys"])
        instead = f", and holds {len(unread)} that it does not know, as {unread[0]}" if unread else ""
        raise ModelError(
            f"model {name!r}: its weights lack {len(absent)} of the tensors that a {read.model_type} has, as {absent[0]}{instead}. They "
            "were renamed, or saved for another architecture: save the whole model with `model.save_pretrained(path)`."
        )
    modules = {of for of, _ in model.named_modules()} - {"", model.base_model_prefix}
    for tensor in sorted(told["unexpected_keys"]):  # a tower of another kind beside it is its own matter
        above = [tensor[:i] for i, letter in enumerate(tensor) if letter == "."]
        if not tensor.endswith(BUFFERS) and modules.intersection(above):
            raise ModelError(
                f"model {name!r}: its weights hold {tensor}, which a {read.model_type} with this config.json has not and would compute "
                "without. Weights and config.json belong to two models, or the weights are quantised: save the whole model again."
            )
    written = templated(tokenizer, name, chat)
    if not eos_ids(tokenizer, model) and not written.stop:
        raise ModelError(
            f"model {name!r} names no token that ends a reply, so no reply would end. Set tokenizer.eos_token and save the "
            "tokenizer, or write prompts in a format that has a text which ends a reply: --chat qa."
        )
    rows = model.get_input_embeddings().weight.shape[0]
    if odd := [end for end in eos_ids(tokenizer, model) if not 0 <= end < rows]:
        raise ModelError(
            f"model {name!r} has {rows} embeddings and ends a reply with token {odd[0]}, so no reply would end. Mend eos_token_id in its "
            "generation_config.json, or copy the tokenizer that belongs to it."
        )
    model.to(torch.device(device))  # pyright: ignore[reportArgumentType, reportCallIssue]
    policy = CausalPolicy(undropped(model.eval()), tokenizer, name, chat=chat)
    policy.renderer.check()
    if (most := max(policy.renderer.prompt("?"))) >= rows:
        raise ModelError(
            f"model {name!r} has {rows} embeddings and its chat template writes token {most}: the tokenizer is another model's."
        )
    _speaks(policy, name)
    return policy


BUFFERS = (".inv_freq", ".attn.bias", ".masked_bias", ".position_ids")
"""Ends of what older files hold beside the weights and every model makes itself."""


def _sealed(path: Path, name: str) -> None:
    """A checkpoint of a run, or a policy in one, is what the run wrote there."""
    checkpoint = path.parent.parent if path.parent.name == "policies" else path
    if (checkpoint / "state.json").is_file() and (checkpoint / "hash").is_file() and not durable.whole(checkpoint):
        raise ModelError(f"model {name!r} is a checkpoint that was damaged or changed since its run wrote it. Take another, or the run.")


def _speaks(policy: CausalPolicy, name: str) -> None:
    """It gives numbers for one prompt: what is wrong with its weights or its config is said here and not in the first step."""
    try:
        with torch.no_grad():
            logits = policy.model(input_ids=torch.tensor([policy.renderer.prompt("?")], device=policy.device), use_cache=False).logits
    except RuntimeError as error:
        if _is_memory(error):
            raise
        raise ModelError(f"model {name!r} cannot compute ({first_line(error)}): its config.json is another model's.") from error
    if not bool(logits.isfinite().all()):
        raise ModelError(
            f"model {name!r} gives no finite numbers for a prompt of one question: its weights hold NaN or infinity, or its config.json is "
            "another model's. Copy or export it again."
        )


def _locate(name: str) -> str:
    if name == "pico" or seedling.is_one(name):  # of a seedling what it shares with pico
        from strop import pico

        return str(pico.path())
    path = Path(name)
    if file := gguf.file_of(path):
        return str(gguf.opened(file))
    if path.is_dir():
        return str(path)
    if path.exists():
        raise ModelError(f"model {name!r} is a file; give a GGUF file, or the directory that holds config.json and the weights.")
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise ModelError(
            f"model {name!r} does not exist. Give a directory in Hugging Face format, a hub id such as org/name, 'pico', or 'seedling'."
        )
    return name


def _is_memory(error: BaseException) -> bool:
    return "memory" in str(error).lower()


@dataclass(frozen=True)
class Read:
    """A pass after the body: what its decisions are read from."""

    hidden_T: Tensor
    """The last layer's states before each decision; logits where there is no head apart."""
    head: Any
    target_T: Tensor
    draws: Draws
    numbers: dict[str, Tensor]
    """Tracks of the heads that are wanted."""
    want: frozenset[str]
    once: bool
    """Slopes are asked for once, and those of weights go to their `.grad`."""


class CausalPolicy:
    """Decisions are tokens. `evaluate` gives, for each decision of a batch, what the parts read of the moving policy."""

    def __init__(self, model: Any, tokenizer: Any, name: str, heads: tuple[Head, ...] = (), chat: Chat | None = None):
        self.model, self.tokenizer, self.name = model, tokenizer, name
        self.renderer = ChatRenderer(tokenizer, chat)
        self.eos = eos_ids(tokenizer, model)
        self.renderer.eos = self.eos
        self.heads = nn.ModuleDict()
        self.declared: dict[str, Head] = {}
        self._split: bool | None = None
        self.adapter: Any = None
        """peft's wrapper of the model, where only adapters are trained."""
        self.compute = torch.float32
        """What products are computed in; weights, gradients and moments are what they were loaded as."""
        self.shares = True
        """Whether what rows have in common may be computed once, in calls of its own."""
        for head in heads:
            self.add_head(head)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.model.parameters()).dtype

    @property
    def positions(self) -> int | None:
        """The longest row the model was made for; None where it does not say."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None)

    def add_head(self, head: Head) -> None:
        """On the last layer's hidden states; its gradient flows on into the model."""
        self.declared[head.track] = head
        self.heads[head.name] = head.built(self.model.config.get_text_config().hidden_size).to(self.device, self.dtype)

    def parameters(self) -> dict[str, nn.Parameter]:
        """Everything that is trained, by name, tied weights once."""
        named = {f"model.{name}": p for name, p in self.model.named_parameters() if self.adapter is None or ".lora_" in name}
        return {**named, **{f"heads.{name}": p for name, p in self.heads.named_parameters()}}

    @property
    def at_once(self) -> int:
        """Decisions whose logits are held at one time."""
        return max(LOGITS_AT_ONCE // self.model.config.get_text_config().vocab_size, 1)

    def evaluate(self, batch: Batch, want: frozenset[str] = frozenset({"logp_T"})) -> dict[str, Tensor]:
        """Tracks of this batch's decisions, one forward pass. Rows are right-padded, so no attention mask is needed."""
        read = self._read(batch, want)
        tracks = self._tracks(read, torch.arange(len(read.target_T), device=self.device))
        return {name: track.to(batch.index.row_T.device) for name, track in tracks.items()}

    def parts(self, batch: Batch, want: frozenset[str], pieces: Iterable[Tensor]) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """Piece after piece of the batch's decisions, with their tracks. The loss of each is differentiated before the next is asked for,
        so only its logits are held and no head is computed twice; after the last, what they pull at is handed on to the body."""
        read = self._read(batch, want, once=True)
        ends = [read.hidden_T, *read.numbers.values()]
        cuts = [end.detach().requires_grad_(end.requires_grad) for end in ends]
        read = replace(read, hidden_T=cuts[0], numbers=dict(zip(read.numbers, cuts[1:], strict=True)))
        for piece in pieces:
            tracks = self._tracks(read, piece.to(self.device))
            yield piece, {name: track.to(piece.device) for name, track in tracks.items()}
        pulled = [(end, cut.grad) for end, cut in zip(ends, cuts, strict=True) if cut.grad is not None]
        if pulled:
            torch.autograd.backward([end for end, _ in pulled], [slope for _, slope in pulled])

    def _read(self, batch: Batch, want: frozenset[str], *, once: bool = False) -> Read:
        """The body's part of a pass."""
        pad = self.eos[0] if self.eos else 0
        row_T = batch.index.row_T.to(self.device)
        before_T = torch.tensor([p for row in batch.rows for p in row.before], dtype=torch.long, device=self.device)
        starts = torch.tensor([len(row.prompt) for row in batch.rows], device=self.device)
        target_T = torch.tensor([row.tokens[p] for row in batch.rows for p in row.at], dtype=torch.long, device=self.device)
        wanted = [head for track, head in self.declared.items() if track in want]
        with self._computing(once=once):
            head = self.model.get_output_embeddings() if self.splits() else None
            if head is not None and (levels := self._levels(batch)):
                state, before = shared.run(self.model, levels, pad)
                hidden_T = state[row_T, before_T + 1 - starts[row_T]]
            else:
                width = max(len(row.tokens) for row in batch.rows)
                ids = torch.tensor([[*row.tokens, *[pad] * (width - len(row.tokens))] for row in batch.rows], device=self.device)
                laid = self._laid(batch, width)
                if head is not None:
                    state = self.model.base_model(input_ids=ids, use_cache=False, **laid).last_hidden_state
                    hidden_T = state[row_T, before_T]
                else:
                    output = self.model(input_ids=ids, use_cache=False, output_hidden_states=bool(wanted), **laid)
                    hidden_T = output.logits[row_T, before_T]
                    state = output.hidden_states[-1] if wanted else hidden_T
                before = _before(state, starts) if wanted else state
            numbers: dict[str, Tensor] = {}
            for asked in wanted:
                seen = before
                if asked.per == "decision":
                    seen = hidden_T if head is not None else state[row_T, before_T]
                number = self.heads[asked.name](seen)[:, 0]
                number = number if number.dtype == torch.float64 else number.float()
                numbers[asked.track] = number if asked.per == "decision" else batch.per_rollout(number)
        draws = Draws.of(batch.samplings, batch.sampling_T.to(self.device))
        return Read(hidden_T, head, target_T, draws, numbers, want, once)

    def _levels(self, batch: Batch) -> list[shared.Level] | None:
        """How to compute what the rows have in common once, where that is worth it and possible."""
        again = any(getattr(module, "gradient_checkpointing", False) for module in self.model.modules())  # such layers keep no cache
        branched = any(row.pieces for row in batch.rows)
        return None if again or branched or not self.shares or not shared.fits(self.model, batch.rows) else shared.levels(batch.rows)

    def _laid(self, batch: Batch, width: int) -> dict[str, Tensor]:
        """Where tokens stand and what they see, where that is not all before them."""
        if not any(row.pieces for row in batch.rows):
            return {}
        if not shared.fits(self.model, batch.rows):
            raise ModelError(
                f"model {self.name!r} has layers that see a window of {self.model.config.get_text_config().sliding_window} positions, and "
                "rows of branches are laid out for layers that see everything. Use shorter rows, or a sampler with rows='threads'."
            )
        least = torch.finfo(self.dtype).min
        position_WL = torch.tensor([layout.positions(row.pieces, width) for row in batch.rows], device=self.device)
        unseen_WLL = torch.stack([layout.unseen(row.pieces, width) for row in batch.rows]).to(self.device)
        mask = torch.zeros(unseen_WLL.shape, dtype=self.dtype, device=self.device).masked_fill_(unseen_WLL, least)
        return {"position_ids": position_WL, "attention_mask": mask[:, None]}

    def _tracks(self, read: Read, piece: Tensor) -> dict[str, Tensor]:
        """The head's part, for a piece of its decisions. What is more than may be held at one time is computed again for its slope."""

        def score(some: Tensor) -> dict[str, Tensor]:
            with self._computing(once=read.once):
                logits = read.hidden_T[some] if read.head is None else read.head(read.hidden_T[some])
            logits = logits if logits.dtype == torch.float64 else logits.float()
            return likelihood(logits, read.target_T[some], read.draws.at(some), read.want, once=read.once)

        again = torch.is_grad_enabled() and len(piece) > self.at_once
        scored = [checkpoint(score, some, use_reentrant=False) if again else score(some) for some in piece.split(self.at_once)]
        tracks = {name: torch.cat([one[name] for one in scored]) for name in scored[0]}
        return tracks | {name: number[piece] if name.endswith("_T") else number for name, number in read.numbers.items()}

    @contextmanager
    def _computing(self, *, once: bool = False) -> Iterator[None]:
        """In the dtype that is asked for, by the products that suit it. Where layers are computed again in the backward pass, they are now
        in training, which is when they do so. Their own parts are not, so nothing is dropped."""
        again = [m for m in self.model.modules() if getattr(m, "gradient_checkpointing", False)] if torch.is_grad_enabled() else []
        lower = torch.autocast(self.device.type, self.compute, enabled=self.compute != torch.float32)
        for layer in again:
            layer.training = True
        try:
            with lower, self.products(once=once):
                yield
        finally:
            for layer in again:
                layer.training = False

    def products(self, *, once: bool = False) -> AbstractContextManager[Any]:
        return products(self.device, self.dtype, self.compute, into=once)

    def splits(self) -> bool:
        """Whether logits are exactly head(hidden): then the head runs on decisions only. Tried once on a few tokens."""
        if self._split is None:
            self._split = parted(self.model) is not None
        return self._split

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """The whole model's tensors under the names of its saved files, without heads, tied ones once."""
        return adapters.whole(self.model)

    def export(self, directory: Path) -> None:
        """Hugging Face format: any library that reads it can load what was trained. Adapters are merged into it, and stand beside it."""
        tensors = None if self.adapter is None else {name: tensor.contiguous() for name, tensor in self.weights()}
        self.model.save_pretrained(directory, safe_serialization=True, state_dict=tensors)
        self.tokenizer.save_pretrained(directory)
        if self.adapter is not None:
            adapters.save(self.adapter, directory)

    def restore(self, directory: Path) -> None:
        """The weights that `export` wrote, into the tensors that are here: of a model with adapters, those alone have moved."""
        from transformers import AutoModelForCausalLM

        if self.adapter is not None:
            adapters.restore(self.adapter, directory)
            return
        saved = AutoModelForCausalLM.from_pretrained(directory, use_safetensors=True, trust_remote_code=False, dtype=self.dtype)
        theirs = dict(saved.named_parameters())
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(theirs[name])

    def frozen(self, name: str) -> Any:
        """What it is now and will not be later, without heads: a copy, or the model without its adapters."""
        if self.adapter is not None:
            return adapters.Before(self, name)
        made = CausalPolicy(copy.deepcopy(self.model).requires_grad_(False), self.tokenizer, name)
        made.renderer, made.compute, made.shares = self.renderer, self.compute, self.shares
        return made


def _before(state: Tensor, length_W: Tensor) -> Tensor:
    """The mean over the first so many positions of each row."""
    inside = torch.arange(state.shape[1], device=state.device) < length_W[:, None]
    return torch.where(inside[..., None], state, 0.0).sum(1) / length_W[:, None]
