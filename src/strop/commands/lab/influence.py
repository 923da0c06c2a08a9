"""Which of its examples moved a run, and towards what: influence functions with EK-FAC (arXiv:2505.19949).

    influence   how far more weight on an example would raise the mean log-probability of the model's right replies to held-out questions
    class       of examples and of questions alike, by fields of their tasks: --by source,steps

Demonstrations count by their tokens, rollouts by credit times gradient. What is done is kept in --out, so a study that was stopped goes on.

Examples:
    strop lab influence runs/sft-chain-1 --by source,steps
    strop lab influence runs/grpo-chain-1 --show 5              the rollouts that helped and hurt most, and the lines in them
    strop lab influence runs/sft-chain-1 --task stacks           what they do for another task
    strop lab influence runs/sft-chain-1 --lds 24 --retrain 2    whether it holds: retrained on 24 random halves, twice each
    strop lab influence runs/sft-chain-1 --plan                  what it needs of memory, and nothing else
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from strop.cli import Usage, answer, say, table

LEAST_RIGHT = 8
"""Right replies of a class below which it is no target."""
WORDS = 5
"""Tokens that are named, of those that occur that often."""
KINDS = (".png", ".svg", ".pdf")


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="RUN", help="a run's directory")
    parser.add_argument("--task", metavar="NAME", help="whose held-out questions are the targets [the run's]")
    parser.add_argument("--tasks", type=int, default=200, metavar="N", help="held-out questions [200]")
    parser.add_argument("--by", default="source", metavar="FIELD,FIELD", help="fields of a task that say its class [source]")
    parser.add_argument("--towards", default="source", metavar="FIELD,FIELD", help="the same of the questions: a target for each [source]")
    parser.add_argument("--examples", type=int, metavar="N", help="only the first N [all]")
    parser.add_argument("--maps", choices=("mlp", "all"), default="mlp", help="which linear maps are looked at [mlp]")
    parser.add_argument("--damping", type=float, default=0.1, metavar="X", help="of a map's mean curvature [0.1]")
    parser.add_argument("--labels", choices=("drawn", "given"), default="drawn", help="drawn from the model, or the texts' own [drawn]")
    parser.add_argument("--show", type=int, default=3, metavar="N", help="examples of the largest and the smallest influence [3]")
    parser.add_argument("--lds", type=int, default=0, metavar="N", help="random halves of the examples to train on again [0]")
    parser.add_argument("--retrain", type=int, default=2, metavar="N", help="times for each half, with seeds of their own [2]")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="draws labels and halves [0]")
    parser.add_argument("--token-budget", type=int, default=8192, metavar="N", help="padded tokens of a pass [8192]")
    parser.add_argument("--max-tokens", type=int, default=128, metavar="N", help="longest reply to a question [128]")
    parser.add_argument("--device", default="auto", metavar="NAME", help="cpu, cuda, or auto [auto]")
    parser.add_argument("--plan", action="store_true", help="say what it needs of memory, and do nothing")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where what is done is kept [RUN-influence]")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw it as PNG, SVG or PDF")


def run(args: argparse.Namespace) -> int:
    from strop.commands.recipes import check_device

    for name, low in {"tasks": 1, "examples": 2, "show": 0, "lds": 0, "retrain": 1, "token_budget": 1, "max_tokens": 1}.items():
        if (value := getattr(args, name)) is not None and value < low:
            raise Usage(f"--{name.replace('_', '-')} is at least {low}, got {value}")
    if not 0 <= args.damping < math.inf:
        raise Usage(f"--damping is at least 0, got {args.damping:g}")
    if args.lds and args.lds < 4:
        raise Usage(f"--lds {args.lds}: ranks of fewer than 4 halves say nothing")
    if args.picture is not None and args.picture.suffix not in KINDS:
        raise Usage(f"--picture writes {', '.join(KINDS)}, got {args.picture}")
    check_device(args.device)
    found = Study(args).made()
    answer(args, found, told(found) if "memory" in found and len(found) == 1 else shown(found, args))
    return 0


class Study:
    """What is asked of one run, and where it is kept."""

    def __init__(self, args: argparse.Namespace):
        from strop.commands.eval import find
        from strop.directory import one_of, runs

        self.args = args
        self.checkpoint, self.about, self.parts = find(args.model)
        if self.about is None:
            raise Usage(f"{args.model} is no run: influence is asked of what a run learned from. Train one, or name its directory.")
        if (named := one_of(args.model))[1]:
            raise Usage(f"{args.model}: of policies beside the actor no examples are told apart. Name the run: {named[0]}")
        self.directory = runs(named[0])[-1]
        self.by, self.towards = (tuple(text.split(",")) for text in (args.by, args.towards))
        self.out: Path = args.out or named[0].with_name(f"{named[0].name}-influence")

    def made(self) -> dict[str, Any]:
        from strop.lab.learned import examples

        every = examples(self.directory, self.by)
        if not every:
            raise Usage(f"{self.args.model} has trained on nothing yet")
        chosen = every[: self.args.examples]
        self.memory(chosen)
        if self.args.plan:
            return {"memory": self.needs}
        if self.args.lds and not all(one.about["demonstrated"] for one in chosen):
            raise Usage("--lds trains again on halves of what was demonstrated; what a run drew itself another run draws otherwise")
        self.begin(chosen)
        policy = self.policy()
        found = self.scores(policy, chosen)
        if self.args.lds:
            found["lds"] = self.halves(chosen, found)
        if self.args.picture is not None:
            from strop.report.influence import write

            self.args.picture.parent.mkdir(parents=True, exist_ok=True)
            found["picture"] = str(write(found, self.args.picture))
        return found

    def recipe(self) -> Any:
        from strop.recipe import Recipe

        assert self.about is not None
        return Recipe(**{**self.about["recipe"], "method": self.parts.get("method", "grpo")})

    def memory(self, chosen: Sequence[Any]) -> None:
        """Said before the model is loaded; what does not fit is refused."""
        from strop.commands.plan import PROCESS, available, gpu
        from strop.lab.influence import forecast

        longest = max(len(text.tokens) for one in chosen for text in one.texts)
        on_gpu = gpu(self.args.device)
        self.needs = forecast(self.recipe(), self.args.maps, longest, self.args.token_budget, 2)
        self.needs |= {} if on_gpu else {"Python and its libraries": PROCESS}
        room, needs = available(on_gpu), sum(self.needs.values())
        say(
            f"influence: {len(chosen)} examples, {needs / 2**20:,.0f} MiB"
            + ("" if room is None else f" of {room / 2**20:,.0f} that are free")
        )
        if room is not None and needs > room and not self.args.plan:
            most = max(self.needs, key=self.needs.__getitem__)
            raise Usage(
                f"that does not fit: {most} takes {self.needs[most] / 2**20:,.0f} MiB. Lower --token-budget, or ask a smaller model."
            )

    def begin(self, chosen: Sequence[Any]) -> None:
        """What stands in the place was made of the same run, examples and settings."""
        from strop import durable
        from strop.records import digest

        said = {name: getattr(self.args, name) for name in ("task", "tasks", "maps", "damping", "labels", "seed", "max_tokens")}
        said |= {
            "by": self.by,
            "towards": self.towards,
            "run": Path(self.checkpoint, "hash").read_text(),
            "examples": [e.id for e in chosen],
        }
        self.out.mkdir(parents=True, exist_ok=True)
        asked, path = digest(said), self.out / "asked.json"
        other = path.exists() and json.loads(path.read_text())["digest"] != asked
        if other and len([*self.out.iterdir()]) > 1:
            raise Usage(f"{self.out} holds a study of other examples or settings. Name another place: --out DIR")
        durable.write(path, json.dumps({"digest": asked, "run": str(self.directory)}).encode())

    def kept(self, name: str, make: Callable[[], Any]) -> Any:
        """A part of the study, made once."""
        from strop import durable
        from strop.records import finite

        path = self.out / f"{name}.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            durable.write(path, json.dumps(finite(make())).encode())
        return json.loads(path.read_text())

    def policy(self) -> Any:
        """With the weights that the run ended with; its adapters beside what they stand on."""
        from strop.commands.eval import _device
        from strop.policies.causal import load, of

        recipe = self.recipe()
        if not recipe.lora:
            return load(self.checkpoint, device=_device(self.args), chat=recipe.prompts)
        policy = of(recipe, _device(self.args))
        policy.restore(Path(self.checkpoint))
        return policy

    def curves(self, reader: Any, maps: Any, texts: Sequence[Any]) -> dict[str, Any]:
        """Curvature of the model, as safetensors: the dearest part."""
        from safetensors.torch import load, save

        from strop import durable
        from strop.lab.influence import Curvature, curved

        path = self.out / "curvature.safetensors"
        if not path.exists():
            made = curved(reader, maps, texts, labels=self.args.labels, seed=self.args.seed, budget=self.args.token_budget)
            parts = ("inward", "outward", "value")
            tensors = {f"{name}/{part}": getattr(one, part).cpu().contiguous() for name, one in made.items() for part in parts}
            durable.write(path, save(tensors))
        tensors = load(path.read_bytes())
        device = next(reader.parameters()).device
        return {name: Curvature(*(tensors[f"{name}/{part}"].to(device) for part in ("inward", "outward", "value"))) for name in maps}

    def handle(self, policy: Any) -> Any:
        from strop import engines
        from strop.seams.context import Handle

        made = Handle(engines.build(policy, self.recipe()), policy.renderer)
        made.engine.begin(-1)
        return made

    def source(self, policy: Any) -> Any:
        from strop.loop import roomy
        from strop.tasks import source as named
        from strop.tasks.shots import show

        recipe = self.recipe()
        asked = named(self.args.task) if self.args.task else self.parts.get("source") or named(recipe.task_name())
        show(policy.renderer, asked, recipe.shots)
        return roomy(asked, policy, self.args.max_tokens, recipe.longest_prompt)

    def targets(self, policy: Any) -> dict[str, Any]:
        """The model's right replies, by class."""
        from strop.commands.live import Progress
        from strop.evaluate import as_trained
        from strop.lab.learned import right, tasks_of

        source = self.source(policy)
        how = as_trained(self.parts["method"], source) if "method" in self.parts and not self.args.task else {}
        with Progress("asking") as tell:
            found, taught = right(
                self.handle(policy),
                source,
                self.args.tasks,
                self.towards,
                most=self.args.max_tokens,
                taught=set(tasks_of(self.directory)),
                how=how,
                tell=tell,
            )
        by = defaultdict[str, list[Any]](list)
        for one in found:
            by[one.kind].append({"task": one.task, "tokens": one.text.tokens, "at": one.text.at})
        if all(len(some) < LEAST_RIGHT for some in by.values()):
            few = ", ".join(f"{len(some)} of {kind}" for kind, some in by.items()) or "none"
            raise Usage(f"a target needs {LEAST_RIGHT} right replies of a class, and there are {few}: ask more questions, --tasks N")
        return {"right": {kind: by[kind] for kind in sorted(by)}, "taught": taught}

    def scores(self, policy: Any, chosen: Sequence[Any]) -> dict[str, Any]:
        """Of every example and token, for every target: influence, and the dot product of gradients."""
        from strop.lab.influence import Reader, influence, logp, maps, slope_of, solved

        told = self.kept("targets", lambda: self.targets(policy))
        goals = {kind: read(some) for kind, some in told["right"].items() if len(some) >= LEAST_RIGHT}
        reader, found, budget = Reader(policy), maps(policy, self.args.maps), self.args.token_budget
        texts = [text for one in chosen for text in one.texts]
        curves = self.curves(reader, found, texts)

        def score(kind: str) -> dict[str, Any]:
            slope = slope_of(reader, found, goals[kind], budget)
            made, plain = influence(reader, found, chosen, [solved(curves, slope, self.args.damping), slope], budget)
            return {"tokens": [one.tokens for one in made], "influence": [o.whole for o in made], "dot": [o.whole for o in plain]}

        by_kind = {kind: self.kept(f"scores-{number}", lambda kind=kind: score(kind)) for number, kind in enumerate(goals)}
        lost = iter(self.kept("loss", lambda: [-value for value in logp(reader, texts, budget)]))
        losses = [sum(next(lost) for _ in one.texts) for one in chosen]
        classes = [str(one.about["class"]) for one in chosen]
        return {
            "run": str(self.directory),
            "examples": len(chosen),
            "right": {kind: len(some) for kind, some in goals.items()},
            "few": {kind: len(some) for kind, some in told["right"].items() if kind not in goals},
            "taught": told["taught"],
            "maps": len(found),
            "silent": [name for name, one in curves.items() if one.silent],
            "flat": sum(one.flat for one in curves.values() if not one.silent),
            "damping": self.args.damping,
            "classes": {kind: by_class(said["influence"], classes, [o.length for o in chosen]) for kind, said in by_kind.items()},
            "tops": {kind: self.tops(policy, chosen, said) for kind, said in by_kind.items()},
            "words": {kind: self.words(policy, chosen, said["tokens"]) for kind, said in by_kind.items()},
            "each": [
                {
                    "id": one.id,
                    "class": classes[n],
                    "times": one.about["times"],
                    "length": one.length,
                    "loss": losses[n],
                    "influence": {kind: said["influence"][n] for kind, said in by_kind.items()},
                    "dot": {kind: said["dot"][n] for kind, said in by_kind.items()},
                }
                for n, one in enumerate(chosen)
            ],
        }

    def tops(self, policy: Any, chosen: Sequence[Any], said: Mapping[str, Any]) -> dict[str, Any]:
        """The examples of the largest and the smallest influence, each with the influence of its lines."""
        order = sorted(range(len(chosen)), key=lambda n: -said["influence"][n])
        show = min(self.args.show, len(order) // 2)
        return {
            side: [
                {
                    "class": chosen[n].about["class"],
                    "prompt": chosen[n].about["prompt"],
                    "influence": said["influence"][n],
                    "lines": lines(policy.renderer, chosen[n].texts[0], said["tokens"][n][0]),
                }
                for n in some
            ]
            for side, some in (("largest", order[:show]), ("smallest", order[len(order) - show :][::-1]))
        }

    def words(self, policy: Any, chosen: Sequence[Any], tokens: Sequence[Any]) -> list[list[Any]]:
        """Every token that occurs: how often, and its mean influence."""
        by = defaultdict[int, list[float]](list)
        for one, rows in zip(chosen, tokens, strict=True):
            for text, own in zip(one.texts, rows, strict=True):
                for place, value in zip(text.at, own, strict=True):
                    by[text.tokens[place]].append(value)
        named = ([policy.tokenizer.decode([token]), len(values), fmean(values)] for token, values in by.items())
        return sorted(named, key=lambda one: -one[2])

    # ------------------------------------------------------------------------------------------ whether it holds

    def halves(self, chosen: Sequence[Any], found: Mapping[str, Any]) -> dict[str, Any]:
        """Trained again on random halves; what the scores foretold of each against what came out."""
        from strop.lab.influence import agreement, foretold, interval, subsets

        kept = subsets(self.args.lds, len(chosen), self.args.seed)
        trained = [[self.retrained(chosen, half, n, turn) for turn in range(self.args.retrain)] for n, half in enumerate(kept)]
        said: dict[str, Any] = {"subsets": len(kept), "retrained": self.args.retrain, "targets": {}}
        for kind in found["right"]:
            turns = [[one[kind] for one in each] for each in zip(*trained, strict=True)]
            came = [fmean(each) for each in zip(*turns, strict=True)]
            others = [other for other in found["right"] if other != kind]
            scores = {
                "EK-FAC": [one["influence"][kind] for one in found["each"]],
                "dot product": [one["dot"][kind] for one in found["each"]],
                "length": [one["length"] for one in found["each"]],
                "loss": [one["loss"] for one in found["each"]],
                **{f"EK-FAC for {other}": [one["influence"][other] for one in found["each"]] for other in others},
            }
            said_of = {name: foretold(values, kept) for name, values in scores.items()}
            main = said_of["EK-FAC"]
            within = [stdev(one) for one in zip(*turns, strict=True)] if len(turns) > 1 else []
            said["targets"][kind] = {
                "score": {name: agreement(values, came) for name, values in said_of.items()},
                "interval": {name: interval(values, came) for name, values in said_of.items()},
                "above": {name: interval(main, came, less=values) for name, values in said_of.items() if name != "EK-FAC"},
                "reliability": agreement(turns[0], turns[1]) if len(turns) > 1 else None,
                "spread": stdev(came),
                "noise": fmean(within) if within else None,
                "foretold": main,
                "came": came,
            }
        return said

    def retrained(self, chosen: Sequence[Any], half: Sequence[int], number: int, turn: int) -> dict[str, float]:
        """Mean log-probability of the same right replies, after training on this half alone; one that was trained is not trained again."""
        from strop.commands.live import Progress
        from strop.lab.influence import Reader, logp
        from strop.lab.learned import again, tasks_of

        def make() -> dict[str, float]:
            known, place = tasks_of(self.directory), self.out / "halves" / f"{number}-{turn}"
            assert self.about is not None
            share = sum(chosen[n].length * chosen[n].about["times"] for n in half)
            share /= sum(one.length * one.about["times"] for one in chosen)
            tasks = [known[task] for task in Counter(chosen[n].about["task"] for n in half)]
            run = again(self.directory, tasks, share, self.about["recipe"]["seed"] + turn, place)
            with Progress(f"half {number + 1} of {self.args.lds}, {turn + 1}") as tell:
                run.train(show=lambda line: tell(line["step"] + 1, run.recipe.steps))
            goals = {kind: read(some) for kind, some in json.loads((self.out / "targets.json").read_text())["right"].items()}
            reader = Reader(run.policy)
            return {kind: fmean(logp(reader, texts)) for kind, texts in goals.items()}

        made = self.kept(f"halves/{number}-{turn}.done", make)
        shutil.rmtree(self.out / "halves" / f"{number}-{turn}", ignore_errors=True)
        return made


def read(some: Sequence[Mapping[str, Any]]) -> list[Any]:
    from strop.lab.influence import Text

    return [Text(tuple(one["tokens"]), tuple(one["at"]), (1.0,) * len(one["at"])) for one in some]


def by_class(values: Sequence[float], classes: Sequence[str], lengths: Sequence[int]) -> dict[str, dict[str, Any]]:
    """Mean influence of an example of each class with its standard error, and for each token."""
    made = dict[str, dict[str, Any]]()
    for kind in sorted(set(classes)):
        own = [value for value, one in zip(values, classes, strict=True) if one == kind]
        tokens = sum(length for length, one in zip(lengths, classes, strict=True) if one == kind)
        error = stdev(own) / math.sqrt(len(own)) if len(own) > 1 else None
        made[kind] = {"examples": len(own), "mean": fmean(own), "error": error, "token": sum(own) / tokens}
    return made


def lines(renderer: Any, text: Any, tokens: Sequence[float]) -> list[list[Any]]:
    """The lines of a reply with the influence of each: a line holds the break that ends it."""
    found, begun = [["", 0.0]], 0
    ids = [text.tokens[place] for place in text.at]
    for n, value in enumerate(tokens):
        found[-1][1] += value
        said = renderer.text(ids[begun : n + 1])
        found[-1][0] = said.rstrip("\n")
        if said.endswith("\n"):
            found.append(["", 0.0])
            begun = n + 1
    return found if found[-1][0] or found[-1][1] else found[:-1]


def told(found: Mapping[str, Any]) -> str:
    needs = found["memory"]
    rows = [[name, round(size / 2**20)] for name, size in sorted(needs.items(), key=lambda one: -one[1])]
    return table([*rows, ["together", round(sum(needs.values()) / 2**20)]], ["what", "MiB"])


def shown(found: Mapping[str, Any], args: argparse.Namespace) -> str:
    """The tables."""
    goals = list(found["right"])
    said = ", ".join(f"{count} right replies of {kind}" for kind, count in found["right"].items())
    text = [
        f"{found['run']}: {found['examples']} examples, {said}; {found['maps']} maps, damping {found['damping']:g} of the mean curvature"
    ]
    unit = max((abs(one["mean"]) for of in found["classes"].values() for one in of.values()), default=1) or 1
    rows = []
    for kind in found["classes"][goals[0]]:
        each = [found["classes"][goal][kind] for goal in goals]
        rows.append([kind, each[0]["examples"], *(v for one in each for v in (scaled(one["mean"], unit), scaled(one["error"], unit)))])
    head = ["class", "examples", *(name for goal in goals for name in (f"for {goal}", "+-"))]
    text += ["", table(rows, head), f"influence of an example, mean and standard error, in units of {unit:.3g}"]
    for goal in goals:
        for side, some in found["tops"][goal].items():
            text += ["", f"{side} for {goal}"] if some else []
            for one in some:
                text += [f"  {scaled(one['influence'], unit):8.3f}  {one['class']}: {one['prompt'][-60:]!r}"]
                text += [f"            {scaled(value, unit):8.3f}  {line[:80]!r}" for line, value in one["lines"]]
        often = [(word, value) for word, count, value in found["words"][goal] if count >= LEAST_RIGHT] if args.show else []
        for side, some in (("most", often[:WORDS]), ("least", often[: -WORDS - 1 : -1])):
            text += [f"a token has {side} for {goal}: {', '.join(f'{word!r} {value / unit:.3f}' for word, value in some)}"] if some else []
    if found["silent"]:
        text += ["", f"no say: {', '.join(found['silent'])}: nothing that the model writes depends on them"]
    if found["taught"]:
        text += ["", f"{found['taught']} questions were trained on and are in no target"]
    for kind, count in found["few"].items():
        text += ["", f"no target: {kind}, of which {count} replies were right, fewer than {LEAST_RIGHT}"]
    if "lds" in found:
        text += ["", measured(found["lds"])]
    if "picture" in found:
        text += ["", f"picture {found['picture']}"]
    return "\n".join(text)


def measured(lds: Mapping[str, Any]) -> str:
    """Whether the scores foretold what retraining on halves brought."""
    text = [
        f"retrained on {lds['subsets']} random halves, {lds['retrained']} times each: rank agreement of what was foretold with what came"
    ]
    for kind, one in lds["targets"].items():
        rows = []
        for name, score in one["score"].items():
            low, high = one["interval"][name] or (None, None)
            below, over = one["above"].get(name) or (None, None)
            rows.append([name, score, low, high, below, over])
        text += ["", table(rows, [f"for {kind}", "agreement", "low", "high", "EK-FAC above it: low", "high"])]
        noise = (
            ""
            if one["noise"] is None
            else f", of one half's trainings {one['noise']:.3g}; they agree with each other by {one['reliability']:.3f}"
        )
        text += [f"deviation of the target among halves {one['spread']:.3g}{noise}"]
    return "\n".join(text)


def scaled(value: float | None, unit: float) -> float | None:
    return None if value is None else value / unit
