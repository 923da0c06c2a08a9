"""What a claim must say before it may run, and that every registered one says it."""

from dataclasses import replace

import pytest

from strop.claims import CLAIMS, named
from strop.claims.claim import Arm, Check, Claim, Profile
from strop.claims.trace import Trace, at, step_value
from strop.methods.grpo import GRPO
from strop.recipe import Recipe
from strop.seams.objective import entropy_bonus
from strop.seams.part import part
from strop.seams.reduction import means
from strop.seams.signal import Signal


@part(gives="number")
def steps(trace: Trace) -> float:
    return float(len(trace.lines))


STILL = GRPO.but("none", signals={"entropy": Signal(entropy_bonus(), means("group", "token"), weight=0.01)})
PLAIN = {
    "mechanism": "A larger step",
    "consequence": "moves the weights further",
    "regime": "on chain with pico",
    "method": "grpo",
    "recipe": Recipe(task="chain", tasks=2, group=2, max_tokens=8, steps=50, slots=16),
    "arms": (Arm("large", GRPO), Arm("none", STILL, control="no step", random=True)),
    "compare": ("large", "none"),
    "measure": step_value(name="outcome"),
    "threshold": 0.0,
    "refuted_if": "it does not",
    "profiles": {"quick": Profile((0, 1), "60 decoded", 1), "full": Profile((0, 1, 2, 3), "60 decoded", 1)},
    "checks": (Check("it stepped", steps(), "large", 1),),
}


def claim(**changes) -> Claim:
    return Claim("larger-step", **{**PLAIN, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mechanism": " "}, "has no mechanism"),
        ({"consequence": ""}, "has no consequence"),
        ({"regime": ""}, "has no regime"),
        ({"refuted_if": ""}, "has no refuted_if"),
        ({"compare": ("large", "nonne")}, "no arm 'nonne'. Did you mean 'none'"),
        ({"arms": (Arm("large", GRPO), Arm("large", GRPO, control="x"))}, "two arms have one name"),
        ({"arms": (Arm("large", GRPO), Arm("none", GRPO))}, "has no control"),
        ({"arms": (Arm("large", GRPO), Arm("none", GRPO, control="x")), "selects": True}, "must select by chance"),
        ({"checks": ()}, "no activity check"),
        ({"base": Recipe(steps=3)}, "name a learning rate for its arms"),
        ({"profiles": {"full": Profile((0, 1), "60 decoded", 1)}}, "at least 4"),
        ({"profiles": {"quick": Profile((0,), "60 decoded", 1, arms=("large",))}}, "leaves out 'none'"),
        ({"profiles": {"quick": Profile((), "60 decoded", 1)}}, r"has the seeds \(\)"),
        ({"profiles": {"full": Profile((0, 1, 2, 2), "60 decoded", 1)}}, "name some, and each once"),
        ({"profiles": {"quick": Profile((0,), "60 decodde", 1)}}, "its quick profile: .*Did you mean 'decoded'"),
        ({"measure": "reward"}, "its measure is Part, got 'reward'"),
        ({"threshold": "0"}, "its threshold is int or float, got '0'"),
        ({"held_out": 3}, "its held_out is HeldOut or None, got 3"),
        ({"arms": GRPO}, "its arms is tuple"),
        ({"arms": (Arm("large", "grpo"), Arm("none", STILL, control="x"))}, r"its arms\[0\].method is Method or Program, got 'grpo'"),
        ({"checks": (Check("it stepped", "steps", "large", 1),)}, r"its checks\[0\].of is Part, got 'steps'"),
        ({"compare": ("large",)}, "its compare is the names of two arms"),
        ({"mechanism": 3}, "its mechanism is str, got 3"),
        ({"profiles": {"fast": Profile((0,), "60 decoded", 1)}}, "declares a profile 'fast'"),
    ],
)
def test_a_claim_that_proves_nothing_is_refused_when_it_is_written(changes, words):
    with pytest.raises(ValueError, match=words):
        claim(**changes)


def test_every_constant_of_a_claim_is_in_its_fingerprint():
    first = claim().fingerprint
    changed = [
        claim(threshold=0.1),
        claim(measure=step_value(name="lenient")),
        claim(tie=True),
        claim(arms=(Arm("large", GRPO.but(tasks=3)), PLAIN["arms"][1])),
        claim(recipe=PLAIN["recipe"].but(max_tokens=9)),
        claim(profiles={**PLAIN["profiles"], "quick": Profile((0, 1), "70 decoded", 1)}),
        claim(checks=(replace(PLAIN["checks"][0], least=2),)),
    ]
    assert len({first, *(c.fingerprint for c in changed)}) == 1 + len(changed)
    assert claim().fingerprint == first


def test_arms_share_everything_but_their_method():
    made = [claim().recipe_of(arm, 3, "quick") for arm in claim().arms]
    assert made[0].but(method="grpo") == made[1].but(method="grpo")
    assert (made[0].seed, made[0].budget, made[0].eval_tasks) == (3, "60 decoded", 0)


def test_the_pilot_runs_the_compared_arms_in_full_length_on_seeds_of_its_own():
    pilot, full = claim().profile("pilot"), claim().profile("full")
    assert pilot.budget == full.budget
    assert not set(pilot.seeds) & set(full.seeds)
    assert len(pilot.seeds) == 3
    assert pilot.arms == ("large", "none")


def test_a_curve_is_read_on_the_line_between_its_points():
    curve = [(0.0, 1.0), (10.0, 2.0), (30.0, 0.0)]
    assert [at(curve, x) for x in (0, 5, 10, 20, 30, 99)] == [1.0, 1.5, 2.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("name", CLAIMS)
def test_a_registered_claim_says_mechanism_consequence_and_regime_and_never_better(name):
    found = named(name)
    words = found.says.lower().split()
    assert not {"better", "beats", "superior", "outperforms", "best"} & set(words), found.says
    assert found.regime.startswith(("on ", "with ", "in "))
    assert any(verb in found.consequence.split()[0] for verb in ("raises", "lowers", "saves", "keeps", "halves", "matches", "reaches"))
    assert {"quick", "full"} <= set(found.profiles)
    assert found.profiles["full"].minutes < 40
    assert found.profiles["quick"].minutes <= (3 if found.base is None else 10)  # a base is made whole for any profile


def test_an_unknown_claim_offers_the_nearest():
    with pytest.raises(ValueError, match=r"no claim 'cdas-spred'. Did you mean 'cdas-spread'"):
        named("cdas-spred")


def test_verdicts_are_those_of_the_records_though_nothing_else_is_read():
    from strop.claims.record import shipped, verdicts

    assert verdicts() == {name: made["verdict"] for name, made in shipped().items()}
