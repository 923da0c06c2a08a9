"""Recipe: what to run. Method + task + model + engine + budget + seed, as plain data."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields, replace
from typing import Any, cast

from strop.engines import known
from strop.method import Method
from strop.policies.chat import Chat
from strop.program import Program, Share, Stage, Steps
from strop.seams.compute import Quantized
from strop.seams.episode import Episodes
from strop.seams.feed import Rollouts
from strop.seams.part import added, describe, fingerprint, nearest, unused
from strop.seams.sampler import Independent, sized
from strop.seams.update import Still
from strop.seams.window import named as windowed
from strop.tripwires import limits
from strop.worlds.calls import Hermes, format_of


@dataclass(frozen=True)
class Recipe:
    """`Recipe()` is the default run. Every field can be set on the command line."""

    method: str | Method | Program = "grpo"
    """A name from `strop methods`, FILE.py or FILE.py:NAME, a run, a sum of them ("gspo + my.py"), a Method or a Program."""
    task: str = ""
    """A source from `strop tasks`, with options: chain:steps=5; or FILE.py, FILE.py:NAME. Empty: the default task."""
    data: str = added("")
    """Questions with answers to train on instead of a task: a .jsonl or .parquet file. One question in eight is held out."""
    eval_data: str = added("")
    """A file of held-out questions; then all others of `data` are trained on."""
    grader: str = added("math")
    """Who compares answers of `data`: `math` (math-verify) or `exact` (the same text up to white space)."""
    prompt_field: str = added("prompt")
    """The field of `data` that holds the question."""
    answer_field: str = added("answer")
    """The field of `data` that holds the answer; behind `####` where the file writes it so, as GSM8K does."""
    instruct: str = added("yes")
    """`no` leaves out the sentence after each question that asks for <answer>, as where `system` says how to answer."""
    longest_prompt: int | None = added(None)
    """Rows of `data` whose prompt has more tokens are left out, and counted. None refuses rows that do not fit the model."""
    system: str = added("")
    """A system message, written through the model's chat template."""
    template: str = added("")
    """Values for variables of the chat template: enable_thinking=false."""
    chat: str = added("")
    """How prompts are written for a model without a chat template: `qa`, `plain`, or a template of one's own, FILE.jinja."""
    shots: int = added(0)
    """Worked examples of the training split before each question, the same ones for all."""
    model: str = "pico"
    """The bundled model, a directory in Hugging Face format, a GGUF file, a hub id, or `seedling:layers=3,hidden=96`: one that learned
    nothing yet."""
    steps: int = 40
    """Updates of the batch; each samples, grades and learns once."""
    budget: str | None = None
    """Ends the run before its last step when so much is spent: '400000 decoded', or '2000000' of all positions."""
    seed: int = 0
    """Of all noise."""
    lr: float | None = None
    """Learning rate; None takes the model's own: 3e-4 for pico, or what the method says of it; the method's for others."""
    tasks: int | None = None
    """Tasks per step; None takes the method's."""
    group: int | None = None
    """Rollouts per task; None takes the method's."""
    max_tokens: int | None = None
    """Longest reply; None takes the method's."""
    turns: int | None = added(None)
    """Actions an episode has at most, where a world answers; None takes the method's. Any method of plain replies plays episodes so."""
    observation: int | None = added(None)
    """Longest answer of the world, in tokens; None takes the method's, or 128."""
    calls: str = added("")
    """How calls of the world's tools are written: line, hermes, xml, fenced, code, native. Empty: the method's, or hermes."""
    window: str = added("")
    """What of an episode is still seen: append, recent, pruned, …, with knobs as recent:limit=2048. Empty: the method's, or all of it."""
    token_budget: int = 8192
    """Padded tokens in one forward and backward pass: lower it when memory is short."""
    slots: int = 256
    """Rows decoded at once: lower it when memory is short."""
    cache: int = 262144
    """Positions the engine may keep for prompts and forks."""
    engine: str = added("embedded")
    """What writes the rollouts: `embedded`, in this process with the learner's own weights, or `vllm`, with options after a colon
    (docs/vllm.md)."""
    device: str = "auto"
    """cpu, cuda, or auto."""
    lora: int = added(0)
    """Rank of LoRA adapters, which alone are trained; 0 trains the whole model."""
    lora_targets: str = added("all-linear")
    """Linear layers that get an adapter: all but the last, or names as q_proj,v_proj."""
    dtype: str = added("float32")
    """What training computes in, float32 or bfloat16; weights, gradients and moments stay float32."""
    compute: str = added("")
    """What the engine draws with: bfloat16 where the processor is fast at it; the difference is measured and bridged. Empty: the
    method's, by default as training computes."""
    sandbox: str = added("")
    """The weakest walls behind which the method's world may execute what the policy writes: `cell`, `locks`, or `open` for none at all.
    Empty: the world's own, by default `locks`."""
    checkpointing: bool = added(False)
    """Compute each layer again in the backward pass instead of keeping what it computed: less memory, about a third more work."""
    eval_tasks: int = 200
    """Held-out tasks for the evaluation before and after; 0 leaves it out."""
    eval_samples: int = 16
    """Replies per held-out task."""
    checkpoint_every: int = 20
    """Steps between two checkpoints."""
    ahead: int = added(0)
    """Steps that are sampled while the learner computes, on a cluster; 0: each step waits for its own rollouts, bit for bit."""
    max_age: int | None = added(None)
    """Groups with a decision older than so many versions of the weights are discarded and reported; None: as many as `ahead`."""
    grader_limit: float = 0.1
    """The run stops when more than this share of a step's rollouts cannot be graded."""
    swarm: str = added("")
    """A swarm's name: share graded groups with the other trainers that give it."""
    peer: str = added("")
    """Addresses of some of them, as tcp/192.168.1.5:7447; without any, those on the local network are found."""
    listen: str = added("")
    """The address others reach this trainer at; without it any free port."""
    share: str = added("")
    """I/J: own groups a step, and foreign ones; without it the method's."""
    tripwire: str = ""
    """Limits of tripwires: NAME=LIMIT or NAME=off, with commas between. `strop tripwires` lists them."""

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if f.type == "str" and not isinstance(value, str):
                raise ValueError(f"{f.name}={value!r}: needs a text")
            if isinstance(value, str) and not value.isprintable() and value != value.encode(errors="replace").decode():
                raise ValueError(f"{f.name}={value!r} holds half a character, which no text in UTF-8 does")
        if not _whole(self.seed) or not abs(self.seed) < 1 << 63:
            raise ValueError(f"seed={self.seed!r}: needs a whole number below 2^63")
        least = {"steps": 0, "token_budget": 1, "slots": 1, "cache": 1, "eval_tasks": 0, "eval_samples": 1, "checkpoint_every": 1}
        least |= {"lora": 0, "shots": 0}
        for name, low in least.items():
            value = getattr(self, name)
            if not _whole(value) or value < low:
                raise ValueError(f"{name}={value!r}: needs a whole number of at least {low}")
        if not _whole(self.ahead) or self.ahead < 0:
            raise ValueError(f"ahead={self.ahead!r}: needs a whole number of at least 0")
        for name in ("tasks", "group", "max_tokens"):
            value = getattr(self, name)
            if value is not None and (not _whole(value) or value < 1):
                raise ValueError(f"{name}={value!r}: needs a whole number of at least 1")
        if self.budget is not None:
            _ = self.budget_in_positions
        if self.share:
            _ = self.shares
            if self.tasks is not None:
                raise ValueError(f"share={self.share!r} and tasks={self.tasks} both say how many own tasks a step has: give one of them")
        if self.lr is not None and not (_number(self.lr) and 0 <= self.lr < math.inf):
            raise ValueError(f"lr={self.lr!r}: a learning rate is a number of at least 0")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype={self.dtype!r}: training computes in {' or '.join(DTYPES)}. {nearest(self.dtype, DTYPES)}")
        if self.compute:
            Quantized(self.compute)
        if self.sandbox:
            from strop.sandbox.rules import LEVELS

            if self.sandbox not in LEVELS:
                raise ValueError(f"sandbox={self.sandbox!r}: code runs at {', '.join(LEVELS)}. {nearest(self.sandbox, LEVELS)}")
        if not self.lora and self.lora_targets != "all-linear":
            raise ValueError(f"lora_targets={self.lora_targets!r} says where adapters stand: train them with --lora RANK")
        known(self.engine)
        limits(self.tripwire)
        self._check_data()
        _ = self.prompts
        if not (_number(self.grader_limit) and 0 <= self.grader_limit <= 1):
            raise ValueError(f"grader_limit={self.grader_limit!r}: a share is a number in [0, 1]")

    def _check_data(self) -> None:
        if self.data and self.task:
            raise ValueError(f"task={self.task!r} and data={self.data!r}: a run draws from one of them. Leave one out.")
        for f in fields(self):
            if f.name in DATA and not self.data and not unused(f, self):
                raise ValueError(f"{f.name}={getattr(self, f.name)!r} says how a file of questions is read: name it with --data FILE")
        for name in ("data", *DATA) if self.data else ():
            if isinstance(value := getattr(self, name), str) and re.search(r",\s*\w+=", value):
                raise ValueError(f"{name}={value!r}: a name with a comma and `=` after it reads like an option. Rename it.")
        if self.longest_prompt is not None and (not _whole(self.longest_prompt) or self.longest_prompt < 1):
            raise ValueError(f"longest_prompt={self.longest_prompt!r}: needs a whole number of at least 1")

    @property
    def prompts(self) -> Chat:
        """What prompts hold beside the task's words."""
        return Chat.of(self.system, self.template, self.chat)

    @property
    def budget_in_positions(self) -> tuple[int, str]:
        """How many, of what."""
        count, _, unit = (self.budget or "").partition(" ")
        unit = unit.strip() or "positions"
        if unit not in UNITS:
            raise ValueError(f"budget={self.budget!r}: nothing is counted in {unit!r}. {nearest(unit, UNITS)}")
        if not count.isdecimal() or int(count) < 1:
            raise ValueError(f"budget={self.budget!r}: write a whole number and a unit, as in '400000 decoded'")
        return int(count), unit

    @property
    def shares(self) -> tuple[int, int]:
        """Own groups a step, and foreign ones."""
        own, slash, foreign = self.share.partition("/")
        if not slash or not own.isdecimal() or not foreign.isdecimal() or not int(own):
            raise ValueError(f"share={self.share!r}: write own groups / foreign groups, as in 4/4")
        return int(own), int(foreign)

    def but(self, **changes: Any) -> Recipe:
        known = {f.name for f in fields(self)}
        for change in changes:
            if change not in known:
                raise ValueError(f"a recipe has no field {change!r}. {nearest(change, known)}")
        return replace(self, **changes)

    def task_name(self) -> str:
        from strop.tasks import DEFAULT_TASK

        if not self.data:
            return self.task or DEFAULT_TASK
        kind = "parquet" if self.data.endswith(".parquet") else "jsonl"
        how = {"prompt": self.prompt_field, "answer": self.answer_field, "grader": self.grader, "instruct": self.instruct}
        how |= {"held_out": self.eval_data} if self.eval_data else {}
        return ",".join((f"{kind}:{self.data}", *(f"{name}={value}" for name, value in how.items())))

    @property
    def program(self) -> Program | None:
        """What its method is, where that is stages of methods."""
        from strop.methods import named

        made = named(self.method) if isinstance(self.method, str) else self.method
        return made if isinstance(made, Program) else None

    def stage(self, stage: Stage, spent: int = 0, made: int = 0, model: str = "") -> Recipe:
        """What a stage of its program runs, where so many positions of the budget were spent before, and so many of its steps made by
        stages that share them: with its method and task, until its own end, from a model of its own."""
        changes: dict[str, Any] = {"method": stage.method, **({"task": stage.task, "data": ""} if stage.task else {})}
        changes |= {"model": model} if model else {}
        own = stage.method.pico_lr if self.model == "pico" and self.lr is None else None
        lr = self.lr if self.lr is not None else PICO_LR if self.model == "pico" else None
        if lr is not None and not isinstance(stage.method.update, Still):
            changes["lr"] = lr * stage.pace if own is None else own
        if isinstance(stage.until, Share):
            if self.budget is None:
                changes["steps"] = max(min(round(stage.until.of * self.steps), self.steps - made), 0)
            else:
                count, unit = self.budget_in_positions
                changes["budget"] = f"{min(spent + round(stage.until.of * count), count)} {unit}"
        else:
            changes["steps"] = stage.until.count if isinstance(stage.until, Steps) else stage.until.at_most
        return self.but(**changes)

    def each(self) -> tuple[Recipe, ...]:
        """Itself; of a program one for each stage, as they would be if nothing were spent."""
        program = self.program
        return (self,) if program is None else tuple(self.stage(stage) for stage in program.plan)

    def resolved(self) -> Method:
        """The method with this recipe's numbers put into its parts."""
        from strop.methods import method as named

        made = named(self.method) if isinstance(self.method, str) else self.method
        if isinstance(made, Program):
            raise ValueError(f"{made.name!r} is a program of {len(made.plan)} stages, and one method is asked for here")
        changes: dict[str, Any] = {}
        if self.group is not None or self.max_tokens is not None:
            changes["sampler"] = sized(made.sampler, self.group, self.max_tokens)
        if self.turns is not None or self.observation is not None or self.calls or self.window:
            changes["sampler"] = self._played(changes.get("sampler", made.sampler), made.name)
        lr = self.lr if self.lr is not None else (PICO_LR if self.model == "pico" else None)
        if lr is not None and not isinstance(made.update, Still):
            changes["update"] = replace(made.update, lr=lr)
        if self.tasks is not None:
            changes["tasks"] = self.tasks
        if self.sandbox and hasattr(made.environment, "within"):
            changes["environment"] = cast(Any, made.environment).within(self.sandbox)
        if self.compute:
            changes["compute"] = Quantized(self.compute)
        if self.ahead or self.max_age is not None:
            if not isinstance(made.feed, Rollouts):
                raise ValueError(f"method {made.name!r} learns from {made.feed!r}; only plain rollouts are sampled ahead of the learner.")
            changes["feed"] = replace(made.feed, ahead=self.ahead, max_age=self.max_age)
        if self.share:
            own, foreign = self.shares
            changes |= {"tasks": own, "feed": replace(cast(Any, made.feed), foreign=foreign)} if hasattr(made.feed, "foreign") else {}
        if (self.swarm or self.share) and not hasattr(made.feed, "foreign"):
            raise ValueError(
                f"method {made.name!r} trains on its own groups alone, so it has nothing of a swarm. Train --method swarm, or give yours "
                "feed=Swarm(…) and a signal on=actions | teacher."
            )
        return made.but(**changes) if changes else made

    def _played(self, sampler: Any, name: str) -> Episodes:
        """A sampler of replies as one of episodes in a world, or one of episodes with these numbers."""
        if type(sampler) is Independent:
            sampler = Episodes(
                sampler.n, max(sampler.turns, 2), sampler.max_tokens, calls=Hermes(), sampling=sampler.sampling, stop=sampler.stop
            )
        elif not isinstance(sampler, Episodes):
            raise ValueError(
                f"method {name!r} samples with {type(sampler).__name__}, which plays no episodes: turns, observation, calls and window are "
                "for methods of plain replies, as grpo, and of episodes, as resum"
            )
        given: dict[str, Any] = {"turns": self.turns, "observation": self.observation}
        given |= {"calls": format_of(self.calls) if self.calls else None, "window": windowed(self.window) if self.window else None}
        return replace(sampler, **{key: value for key, value in given.items() if value is not None})

    def paced(self) -> Recipe:
        """With the rate written in at which its method trains the bundled model, where the method has one and nobody gave another. A new
        run's recipe is paced; one that is read from a run's directory says what that run did."""
        if self.program is not None:
            return self
        own = self.resolved().pico_lr if self.lr is None and self.model == "pico" else None
        return self if own is None else replace(self, lr=own)

    def describe(self) -> dict[str, Any]:
        from strop.tasks import identity

        method = self.program or self.resolved()
        said = (
            "method",
            "task",
            "tripwire",
            "peer",
            "listen",
            "share",
            "sandbox",
        )  # these change no number, but for a share and a sandbox, which are in the parts
        own = {f.name: describe(getattr(self, f.name)) for f in fields(self) if f.name not in said and not unused(f, self)}
        return {"method": method.name, "parts": method.describe(), "task": identity(self.task_name()), **own}

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.describe())


DATA = ("eval_data", "grader", "prompt_field", "answer_field", "instruct", "longest_prompt")
"""Fields that say how `data` is read."""


UNITS = ("positions", "prefilled", "decoded", "scored", "recomputed", "measured", "trained", "calls")
"""What a budget may be counted in: entries of a run's bill, or all positions."""

DTYPES = ("float32", "bfloat16")

PICO_LR = 3e-4
"""A model of a million parameters takes steps that would break a large one; 1e-3 collapses it."""


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
