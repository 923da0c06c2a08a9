"""What the microscope shows follows from the methods' own functions: shares sum to 1, and GRPO's length bias needs no training."""

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))
from recorded import lines, record

from strop import learning
from strop.batch import pack
from strop.cli import main
from strop.lab.microscope import KINDS, look, scored
from strop.methods import METHODS
from strop.methods import method as named
from strop.methods.ppo import PPO
from strop.records import Group, Scores
from strop.report import lens
from strop.run import at_step
from strop.seams.gate import decide
from strop.seams.mark import marked
from strop.sense import channels, channels_read

STEP = 1


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("origin") / "run"
    record(place, checkpoint_every=1)
    return place


@pytest.fixture(scope="module")
def run(place):
    return at_step(place, STEP, lambda _: None)


@pytest.fixture(scope="module")
def methods(run):
    """All that learn from rollouts, read nothing but the verdicts that chain gives, and do with groups as small as these."""
    fit = [name for name in METHODS if all(getattr(gate, "fewest", 1) <= run.recipe.group for gate in named(name).gate)]
    resolved = [run.recipe.but(method=name).resolved() for name in fit]
    return [m for m in resolved if channels_read(m) <= channels(m) and not m.paired]


SOME = ("grpo@strop-1", "dr-grpo", "dapo", "gspo", "ppo")


@pytest.fixture(scope="module")
def sight(run, methods):
    """What a few of them do to the batch: each costs its gradients."""
    return look(run, [method for method in methods if method.name in SOME])


def reading(sight, name):
    return next(r for r in sight.readings if r.method.name == name)


@pytest.mark.full  # every method's whole gradient
def test_the_gradient_is_the_one_that_training_would_take(run, methods):
    """Norm and loss of `learning.backward` on the whole batch, for every method and grain."""
    sight = look(run, methods)
    raw = run.record()
    groups, scores = [Group.from_json(g) for g in raw["groups"]], Scores.from_json(raw["scores"])
    progress = run.context().progress
    for method in methods:
        groups = marked(method.marks, groups, run.policy.renderer)
        known = scored(run, method, groups, scores)
        rewards, fates = learning.reward_of(method, groups, known, progress), {}
        for group in groups:
            fates |= decide(method.gate, group, rewards, known)
        run.learner.reference = at_step(run.directory, 0, lambda _: None).policy if method.reference else None
        batch = pack(groups, fates, rewards, run.version, known)
        batch = learning.settle(method, learning.measure(method, batch, run.learner, run.bill.learned, own=True))
        for parameter in run.policy.parameters().values():
            parameter.grad = None
        facts = learning.backward(method, batch, run.policy, 8192, progress.fraction, (run.recipe.seed, run.step, 0))
        squares = [p.grad.double().square().sum() for p in run.policy.parameters().values() if p.grad is not None]
        norm = torch.stack(squares).sum().sqrt().item()
        seen = reading(sight, method.name)
        assert seen.norm == pytest.approx(norm, rel=1e-4), method.name
        weighted = sum(s.weight_at(progress.fraction) * facts[f"loss/{name}"] for name, s in method.signals.items())
        assert seen.loss == pytest.approx(weighted, rel=1e-4, abs=1e-6), method.name
    for law in (
        test_the_shares_of_every_bucketing_sum_to_one,
        test_a_method_agrees_with_itself_and_cosines_are_symmetric,
        test_a_weight_pushes_the_tokens_of_better_rollouts_up,
    ):
        law(sight)


@pytest.mark.slow  # the gradients of every method
def test_the_shares_of_every_bucketing_sum_to_one(sight):
    for r in sight.readings:
        for kind in KINDS:
            total = sum(share for bucket, share in zip(sight.buckets, r.shares, strict=True) if bucket.kind == kind)
            assert total == pytest.approx(1, abs=1e-6), (r.method.name, kind)


def test_a_bucketing_holds_every_decision_once(sight):
    for kind in KINDS:
        assert sum(b.decisions for b in sight.buckets if b.kind == kind) == sight.batch.index.size("token")


def test_a_method_agrees_with_itself_and_cosines_are_symmetric(sight):
    for i, row in enumerate(sight.cosine):
        assert row[i] == pytest.approx(1, abs=1e-9)
        assert all(row[j] == pytest.approx(sight.cosine[j][i], abs=1e-12) and abs(row[j]) <= 1 + 1e-9 for j in range(len(row)))


def test_grpo_gives_a_token_less_the_longer_its_rollout_and_dr_grpo_does_not(sight):
    """The known length bias, seen without training: weight per unit of credit ~ length ** -1 against length ** 0."""
    assert sight.exponent(reading(sight, "grpo@strop-1")) == pytest.approx(-1, abs=0.01)
    assert sight.exponent(reading(sight, "dr-grpo")) == pytest.approx(0, abs=0.01)
    by_length = [b for b, bucket in enumerate(sight.buckets) if bucket.kind == "length"]
    assert len(by_length) > 1
    shortest, longest = (sight.label_KT[0] == by_length[0]), (sight.label_KT[0] == by_length[-1])
    for name, falls in (("grpo@strop-1", True), ("dr-grpo", False)):
        short, long = (reading(sight, name).per_credit(mask) for mask in (shortest, longest))
        assert (short > 1.2 * long) == falls, (name, short, long)


def test_a_weight_pushes_the_tokens_of_better_rollouts_up(sight):
    for r in sight.readings:
        policy_only = r.method.name in ("grpo@strop-1", "dr-grpo", "rloo", "cispo", "dapo")
        pushed_T = (r.weight_T != 0) & (r.credit_T != 0)
        assert bool(pushed_T.any())
        if policy_only:
            assert bool((torch.sign(-r.weight_T) == torch.sign(r.credit_T))[pushed_T].all()), r.method.name


def test_a_method_that_pushes_nothing_has_no_shares(run):
    flat = run.recipe.but(method="grpo").resolved().but("silent", signals={"policy": PPO.signals["policy"].but(weight=0.0)})
    silent = look(run, [flat]).readings[0]
    assert silent.norm == 0
    assert set(silent.shares) == {None}


def test_the_nearest_checkpoint_measures_and_corrects(place):
    said: list[str] = []
    own = at_step(place, 2, said.append, nearest=True)
    assert not own.foreign, "a checkpoint of the very step holds its own weights"
    other = at_step(place, 1, said.append, nearest=True)  # the two checkpoints that are kept are those of steps 2 and 3
    assert "checkpoint 2, the nearest there is" in said[-1]
    assert look(own, [own.recipe.resolved()]).readings[0].method.name == "grpo@strop-1"
    assert look(other, [other.recipe.resolved()]).readings[0].method.name == "grpo@strop-1-truncated"


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen, self.text = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


HOSTILE = "</span><script>alert(1)</script><img src=x>"


def test_the_page_colours_every_decision_and_refers_to_nothing_outside_itself(sight):
    page = lens.render(sight, lambda token: HOSTILE, {"run": HOSTILE, "weights": HOSTILE})
    tags = Tags()
    tags.feed(page)
    assert not {"script", "img"} & {tag for tag, _ in tags.seen}
    assert not [a for _, attrs in tags.seen for a in attrs if a.startswith("on") or a in ("src", "href")]
    coloured = [attrs for tag, attrs in tags.seen if tag == "span" and "title" in attrs]
    shown = sum(r.length for number in lens.widest(sight) for r in sight.groups[number].rollouts)
    assert len(coloured) == shown * len(sight.readings)
    assert any(attrs["class"] == "up" for attrs in coloured)
    assert any(attrs["class"] == "down" for attrs in coloured)
    assert HOSTILE in "".join(tags.text)


def test_the_command_says_which_weights_and_writes_the_page(place, tmp_path, capsys):
    page = tmp_path / "page.html"
    main(["microscope", str(place), "--step", "2", "--methods", "grpo,dr-grpo", "--out", str(page), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert lines(place)[1]["digest"]["weights"] in found["weights"]
    assert "bit for bit" in found["weights"]
    assert [m["name"] for m in found["methods"]] == ["grpo@strop-1", "dr-grpo"]
    assert re.search(r"<td class=dim>\d+ tokens", page.read_text())


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        (["--step", "9", "--methods", "grpo"], "has no record of step 9. Its last is 2"),
        (["--step", "0", "--methods", "grpo,dr-gpo"], "Did you mean 'dr-grpo'"),
        (["--step", "0", "--methods", "grpo,grpo"], "names a method twice"),
        (["--step", "-1", "--methods", "grpo"], "at least 0"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_a_mistake_is_one_message(flags, wanted, place, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["microscope", str(place), *flags])
    assert stop.value.code == 2
    assert wanted in capsys.readouterr().err
