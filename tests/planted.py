"""Files of a user's with one fault each, and what `strop check` says of it; and files that keep their promises.

`python tests/planted.py` plants each, checks it and prints all that is said.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

HEAD = """
import random
from dataclasses import dataclass
import torch
from torch import Tensor
from strop.methods.grpo import GRPO
from strop.records import Fate, Group, Rollout, Scores, Task
from strop.seams.context import Footprint
from strop.seams.feed import Rollouts
from strop.seams.index import Index
from strop.seams.part import part
from strop.seams.reduction import means
from strop.seams.sampler import Independent
from strop.seams.signal import Signal
from strop.seams.source import Graded, split_of
"""

CREDIT = '''
SEEN = []
@part(gives="{gives}", formula="{formula}")
def mine({takes}) -> Tensor:
    """Mine."""
    {body}
MINE = GRPO.but("mine", credit=(mine(),))
'''
LOSS = '''
@part(formula="{formula}")
def mine(logp_T: Tensor, old_logp_T: Tensor, credit_T: Tensor) -> Tensor:
    """Mine."""
    {body}
MINE = GRPO.but("mine", signals={{"policy": Signal(mine(), means("group", "rollout", "token"))}})
'''
SPANS = '''
from strop.seams.credit import step_returns, steps_standardized
@part(gives="letter_T")
def letters(text: str) -> list[tuple[int, int]]:
    """Each."""
    return [(i, i + 1) for i in range(len(text))]
@part(gives="early")
async def mine(groups, ctx, *, spans="letter"):
    """A letter of the alphabet's beginning is worth more."""
    units = [r for g in groups for r in g.rollouts]
    said = {{r.id: tuple(float(letter < "c") for letter in r.text[:{count}]) for r in units}}
    return Scores({{r.id: {{"early": 0.0}} for r in units}}, spans={{unit: {{"early": (spans, scores)}} for unit, scores in said.items()}})
CREDIT = (steps_standardized.reading(score_T="early_T"), step_returns())
MINE = GRPO.but("mine", marks=(letters(),), graders=(mine(),), credit=CREDIT)
'''
RIDDLES = """
@dataclass(frozen=True)
class Riddles:
    name = 'riddles'
    size = None
    def task(self, split, seed, index):
        rng = random.Random(f'{split} {seed} {index}')
        {task}
    def grade(self, task, text):
        {grade}
    def gold(self, task):
        {gold}
SOURCE = Riddles()
"""
SUMS = """while True:
            a, b = rng.randint(1, 99), rng.randint(1, 99)
            made = Task(f'{a} + {b} =', {'sum': a + b}, self.name)
            if split_of(made.id) == split:
                return made"""
CURRICULUM = """
@dataclass(frozen=True)
class Mine:
    def init(self, source):
        return {init}
    def pick(self, n, state, ctx):
        tasks = [ctx.source.task('train', ctx.seed, state['next'] + i) for i in range(n)]
        {pick}
    def observe(self, state, groups, scores, ctx):
        return state
MINE = GRPO.but('mine', idea=('curriculum',), curriculum=Mine())
"""
GATE = """
@dataclass(frozen=True)
class Mine:
    refill: int = 0
    def __call__(self, group, seen):
        return {r.id: Fate('drop') for r in group.rollouts}
MINE = GRPO.but('mine', gate=(Mine(),))
"""
FEED = """
@dataclass(frozen=True)
class Mine:
    fresh = True
    async def take(self, pick, want, sampler, world, ctx, seen):
        groups = await Rollouts().take(pick, want, sampler, world, ctx, seen)
        return groups + groups[:1]
MINE = GRPO.but('mine', idea=('feed',), feed=Mine())
"""
SAMPLER = """
@dataclass(frozen=True)
class Mine(Independent):
    async def __call__(self, task, world, ctx):
        actor = ctx.policies['actor']
        root = await actor.open(task.prompt, root=ctx.place)
        nodes = [await actor.generate(root, max=self.max_tokens, keep=True) for _ in range(self.n)]
        rollouts = (Rollout((n.row(),), f'{ctx.place}/{i}', stop=n.stop, text=actor.text(n)) for i, n in enumerate(nodes))
        return [Group(task, tuple(rollouts), id=ctx.place)]
MINE = GRPO.but('mine', idea=('sampler',), sampler=Mine(n=4, max_tokens=16))
"""
WORLD = """
from strop.seams.world import Reply
@dataclass(frozen=True)
class World:
    def start(self, task, seat):
        return {'turn': 0}
    async def reply(self, state, said, ask):
        state['turn'] += 1
        return state, Reply('again')
TURNS = Independent(n=2, max_tokens=8, turns=2, observation=8)
MINE = GRPO.but('mine', idea=('environment', 'sampler'), environment=World(), sampler=TURNS)
"""
GRADER = """
@part(gives='extra')
async def mine(groups, ctx):
    return Scores({r.id: {'extra': 1 / 0} for g in groups for r in g.rollouts})
MINE = GRPO.but('mine', graders=(mine(),))
"""


def spanned(count: str) -> str:
    """A grader of the letters of a reply, or of so many of them."""
    return SPANS.format(count=count)


def credit(body: str, formula: str = "", gives: str = "credit_R", takes: str = "reward_R: Tensor") -> str:
    return CREDIT.format(body=body, formula=formula, gives=gives, takes=takes)


def loss(body: str, formula: str = "") -> str:
    return LOSS.format(body=body, formula=formula)


def riddles(task: str = SUMS, grade: str = "", gold: str = "return str(task.needs['sum'])") -> str:
    grade = grade or graded("float(text.strip() == str(task.needs['sum']))")
    return RIDDLES.replace("{task}", task).replace("{grade}", grade).replace("{gold}", gold)


def graded(score: str) -> str:
    return f"return Graded({{'outcome': {score}}})"


def curriculum(pick: str, init: str = "{'next': 0}") -> str:
    return CURRICULUM.replace("{pick}", pick).replace("{init}", init)


PRINTED = "what `strop explain` prints and what it computes differ"
NOISE = "a generator that is not the run's"

FAULTS: dict[str, tuple[str, str]] = {
    "a flipped sign in a loss": (
        loss("return credit_T * (logp_T - old_logp_T).exp()", "loss_T = -exp(logp_T - old_logp_T) * credit_T"),
        f"signals.policy mine (planted.py, line 17): {PRINTED}",
    ),
    "another constant than the one printed": (credit("return 2.0 * reward_R", "credit_R = 3 * reward_R"), PRINTED),
    "one number too few": (credit("return reward_R[1:]"), "gives credit_R of shape"),
    "a number for each decision": (
        credit("return index.spread(reward_R, 'rollout', 'token')", takes="reward_R: Tensor, index: Index"),
        "rollouts: it has one number for each",
    ),
    "an index out of range": (credit("return reward_R + reward_R[99]"), "raises IndexError: index 99 is out of bounds"),
    "a constant of another precision": (
        credit("return torch.where(reward_R > 0.5, 0.1, -1.0)"),
        "gives credit_R as float32 where it was given float64",
    ),
    "whole numbers": (credit("return (reward_R > 0.5).long()"), "gives credit_R as int64"),
    "a list": (credit("return reward_R.tolist()"), "gives a list as credit_R: a part gives a tensor"),
    "no spread": (credit("return reward_R / (reward_R - reward_R)"), "is no number for finite ones"),
    "torch's noise": (credit("return reward_R + torch.rand(len(reward_R), dtype=reward_R.dtype)"), NOISE),
    "Python's noise": (credit("return reward_R * random.random()"), NOISE),
    "memory from call to call": (
        credit("SEEN.append(1); return reward_R * len(SEEN)"),
        "other numbers for the same batch the second time",
    ),
    "changed in place": (credit("return reward_R.mul_(2.0)"), "changes reward_R in place"),
    "the batch's order": (
        credit("return reward_R * torch.arange(len(reward_R), dtype=reward_R.dtype)"),
        "depends on the order of the batch",
    ),
    "no slope": (loss("return logp_T.detach() * credit_T"), "no slope on any batch"),
    "two tracks without names": (credit("return reward_R, reward_R", gives="credit_R,return_T"), "so it returns a dict of them"),
    "splits that meet": (
        riddles(task="return Task(str(random.Random(seed + index).randint(1, 9)), {'sum': 1}, self.name)"),
        "held-out tasks are trained on too",
    ),
    "tasks that do not repeat": (
        riddles(task="return Task(f'{split} {random.random()}', {'sum': 1}, self.name)"),
        "is not the same the second time",
    ),
    "a gold answer that is wrong": (riddles(gold="return str(task.needs['sum'] + 1)"), "scores 0.0, not 1"),
    "wrong answers that are paid": (riddles(grade=graded("1.0")), "pays 1 for"),
    "a grader that looks at the form alone": (
        riddles(grade=graded("float(text.isdigit() and len(text) < 5)")),
        "pays 1 for what answers nothing: '0'",
    ),
    "a score out of range": (riddles(grade=graded("10.0 * (text == str(task.needs['sum']))")), "a score lies in [0, 1]"),
    "a grader that raises": (riddles(grade=graded("float(int(text) == task.needs['sum'])")), "raises ValueError: invalid literal"),
    "a gold that is no text": (riddles(gold="return task.needs['sum']"), "it is a text that scores 1"),
    "needs that JSON does not hold": (
        riddles(task="return Task(f'{split} {seed} {index}', {'sum': {1}}, self.name)"),
        "not JSON serializable",
    ),
    "a state that is no plain data": (
        curriculum("return tasks, {**state, 'next': state['next'] + n}", init="{'next': 0, 'seen': set()}"),
        "a state is plain data",
    ),
    "a state that is changed": (curriculum("state['next'] += n; return tasks, state"), "pick changes the state it was given"),
    "a curriculum's own noise": (curriculum("return random.sample(tasks, n), state"), NOISE),
    "a gate for what it was not shown": (GATE, "which it was not shown"),
    "a feed that gives a group twice": (FEED, "two groups or rollouts of one id"),
    "a footprint that is too small": (SAMPLER, "declared a footprint of"),
    "a world that keeps its state": (WORLD, "changes the state it was given"),
    "a grader that raises for a rollout": (GRADER, "grader raised ZeroDivisionError"),
    "a span without a score": (spanned("1"), "grader scored 1 spans 'letter', and the reply has"),
}

RIGHT = {
    "a credit with its formula": credit(
        "return torch.where(reward_R > 0.5, 0.1, -1.0).to(reward_R)", "credit_R = where(reward_R > 0.5, 0.1, -1)"
    ),
    "a loss with its formula": loss("return -(logp_T - old_logp_T).exp() * credit_T", "loss_T = -exp(logp_T - old_logp_T) * credit_T"),
    "a source": riddles(),
    "a score of every span": spanned("len(r.text)"),
    "a curriculum": curriculum("return tasks, {**state, 'next': state['next'] + n}"),
}


def table() -> str:
    """As docs/your-own.md shows it."""
    return "\n".join(["| planted | said |", "|---|---|", *(f"| {name} | {said} |" for name, (_, said) in FAULTS.items())])


def said(name: str, folder: Path) -> str:
    """What `strop check` says of it, whole."""
    from strop.commands.check import of

    (folder / "planted.py").write_text(HEAD + FAULTS[name][0])
    return " / ".join(str(finding) for finding in of(str(folder / "planted.py")) if finding.fine is False)


if __name__ == "__main__":
    with TemporaryDirectory() as place:
        for fault in FAULTS:
            (each := Path(place) / fault.replace(" ", "-")).mkdir()
            print(f"{fault}\n    {said(fault, each)}", flush=True)
