"""Two players who are trained together: a writer is told a letter and writes a word, a guesser reads that word alone and says the letter.

Both earn 1 where the guess is right, so a code has to come up that nobody gave them. The writer is the actor, the guesser a policy beside
it; the words train the one and the guesses the other, each with an optimiser of its own.

    python examples/two_players.py                                 two tables, 60 steps in some seconds: how often they agree, exactly
    python examples/two_players.py --out runs/code                 killed and called again, it goes on as if it had not been
    python examples/two_players.py --model pico --steps 2          two language models in the same game
    strop train examples/two_players.py                            the same by the command, with a report of both
    strop explain examples/two_players.py                          the method, formula by formula
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from strop.methods.grpo import GRPO
from strop.recipe import Recipe
from strop.records import Group, Rollout, Sampling, Task
from strop.seams.asked import Trained
from strop.seams.context import Ctx, Footprint
from strop.seams.credit import group_centered
from strop.seams.engine import Node
from strop.seams.role import Role
from strop.seams.source import Graded
from strop.seams.update import AdamW
from strop.seams.world import World

GUESS = "guess"
ASK = "Somebody was told a letter and wrote {!r}. Which letter?"


@dataclass(frozen=True)
class Code:
    """Letters to be told, the first `count` of the alphabet. What stands on a text's last line is the guess."""

    count: int = 4
    name = "code"

    @property
    def size(self) -> int:
        return self.count

    @property
    def sizes(self) -> dict[str, int]:
        return {"train": self.count, "test": 0}  # a code is for these letters: there is nothing to hold out

    def task(self, split: str, seed: int, index: int) -> Task:
        letter = chr(ord("a") + index % self.count)
        return Task(f"Tell {letter!r} in a word of your own.", {"letter": letter}, self.name, {"index": index % self.count})

    def grade(self, task: Task, text: str) -> Graded:
        said = text.rpartition("\n")[2]
        return Graded({"outcome": float(said == task.needs["letter"]), "lenient": float(task.needs["letter"] in said)})

    def gold(self, task: Task) -> str:
        return task.needs["letter"]


@dataclass(frozen=True)
class Telling:
    """`n` words for the letter, and `guesses` of what each stands for. A word is worth its first guess; guesses at a word are siblings."""

    n: int = 8
    guesses: int = 4
    max_tokens: int = 4
    sampling: Sampling = Sampling()
    own_context: ClassVar[bool] = True  # rows are the engines' own nodes, and a group's id is the root of its noise

    @property
    def group_size(self) -> int:
        return min(self.n, self.guesses)

    def footprint(self, prompt: int) -> Footprint:
        return Footprint(positions=prompt, requests=self.n)

    async def __call__(self, task: Task, world: World | None, ctx: Ctx) -> list[Group]:
        writer, guesser = ctx.policies["actor"], ctx.policies["guesser"]
        told = await writer.open(task.prompt, root=ctx.place)
        asked = (writer.generate(told, max=self.max_tokens, sampling=self.sampling, keep=False) for _ in range(self.n))
        words = await asyncio.gather(*asked)
        prompts = [ASK.format(writer.text(word)) for word in words]
        room = Footprint(sum(len(guesser.renderer.prompt(p)) for p in prompts), self.n * self.guesses)
        async with guesser.engine.admit(room):
            groups = await asyncio.gather(*(self._guessed(task, p, ctx, f"{ctx.place}/{GUESS}/{i}") for i, p in enumerate(prompts)))
        first = [group.rollouts[0].text for group in groups]
        rollouts = [
            self._rollout(word, f"{ctx.place}/{i}", f"{writer.text(word)}\n{guess}")
            for i, (word, guess) in enumerate(zip(words, first, strict=True))
        ]
        return [Group(task, tuple(rollouts), id=ctx.place), *groups]

    async def _guessed(self, task: Task, prompt: str, ctx: Ctx, place: str) -> Group:
        guesser = ctx.policies["guesser"]
        read = await guesser.open(prompt, root=place)
        asked = (guesser.generate(read, max=self.max_tokens, sampling=self.sampling, keep=False) for _ in range(self.guesses))
        said = await asyncio.gather(*asked)
        return Group(task, tuple(self._rollout(n, f"{place}/{i}", guesser.text(n)) for i, n in enumerate(said)), GUESS, place)

    def _rollout(self, node: Node, place: str, text: str) -> Rollout:
        return Rollout((node.row(),), place, stop=node.stop or "finished", text=text)


TWO = GRPO.but(
    "two-players",
    paper="",
    idea=("sampler", "policies", "roles", "credit"),
    sampler=Telling(),
    policies={"guesser": Trained()},
    roles={GUESS: Role(policy="guesser")},
    credit=(group_centered(),),
    update=AdamW(minibatch=None),
    tasks=4,
)
SOURCE = Code()
RECIPE = Recipe(method=TWO, steps=20, eval_tasks=0)


# The same game between two tables, where how often they agree can be counted.


def tables(seed: int) -> dict[str, Any]:
    """What a run is handed to play it with tables: a word for each letter and a letter for each word, both of one token or none."""
    from strop.lab.tabular import Letters, TabularPolicy, engine
    from strop.lab.world import Language

    language = Language(SOURCE.count + 1, 1)

    @dataclass(frozen=True)
    class Prompts(Letters):
        """The place of a prompt among those there are."""

        known: tuple[str, ...] = ()

        def prompt(self, text: str) -> tuple[int, ...]:
            return (self.language.vocab + self.known.index(text),)

    def player(known: list[str], seed: int) -> TabularPolicy:
        made = TabularPolicy(len(known), language, seed=seed, spread=0.1)
        made.renderer = Prompts(language, len(known), tuple(known))
        return made

    words = [Letters(language, 1).text(language.tokens(number)) for number in range(language.count)]
    writer = player([SOURCE.task("train", 0, i).prompt for i in range(SOURCE.count)], seed)
    guesser = player([ASK.format(word) for word in words], seed + 1)
    return {"policy": writer, "policies": {"guesser": guesser}, "source": SOURCE, "engine": engine}


def agreed(writer: Any, guesser: Any) -> float:
    """How often the guess is right, exactly: over letters, words and guesses."""
    word_SN, guess_NM = writer.chance_SN(), guesser.chance_SN()
    letters = [guesser.language.number([1 + i]) for i in range(SOURCE.count)]
    return float((word_SN @ guess_NM)[range(SOURCE.count), letters].mean())


def main() -> None:
    from strop.run import create, resume

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="tables", help="tables, pico, or a model's directory")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="the run's directory [a new one in /tmp]")
    asked = parser.parse_args()

    exact = asked.model == "tables"
    parts = tables(asked.seed) if exact else {"source": SOURCE}
    recipe = RECIPE.but(steps=asked.steps, seed=asked.seed, checkpoint_every=10)
    recipe = recipe.but(lr=0.1) if exact else recipe.but(model=asked.model)
    place = asked.out or Path(tempfile.mkdtemp()) / "run"
    run = resume(place, method=TWO, **parts) if (place / "recipe.json").exists() else create(recipe, place, **parts)
    print(f"{place}\n\n step  writer  guesser" + ("  they agree" if exact else ""))

    def show(line: dict[str, Any]) -> None:
        if line["step"] % 10 == 9 or line["step"] in (0, run.recipe.steps - 1):
            said = f"{line['step'] + 1:5}  {line['reward']:6.3f}  {line['policies']['guesser']['reward']:7.3f}"
            print(said + (f"  {agreed(run.policy, run.pupils['guesser'].policy):10.4f}" if exact else ""))

    run.train(show=show)


if __name__ == "__main__":
    main()
