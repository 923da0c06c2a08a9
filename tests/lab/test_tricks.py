"""Effects of four tricks: planted ones are found, by hand; a run of each way gives a rate."""

import random
from itertools import product
from statistics import fmean

import pytest

from strop.cli import main
from strop.lab.tricks import CELLS, TRICKS, effects, method, pass_rate, study


def test_planted_effects_come_out_and_others_do_not():
    noise = random.Random(0)

    def rate(cell):
        std, _, higher, kl = cell
        return 0.5 + 0.1 * std + (0.2 if higher and kl else 0.0) + noise.gauss(0, 0.002)

    found = {e.tricks: e for e in effects({cell: [rate(cell) for _ in range(5)] for cell in CELLS})}
    assert len(found) == 15
    assert found["std",].mean == pytest.approx(0.1, abs=0.01)
    assert found["higher", "kl"].mean == pytest.approx(0.1, abs=0.01), "half of what both together add to each alone"
    assert found["higher",].mean == pytest.approx(0.1, abs=0.01)
    assert [e.tricks for e in found.values() if e.found and len(e.tricks) > 1] == [("higher", "kl")]


def test_an_effect_is_a_difference_of_means():
    noise = random.Random(1)
    rates = {cell: [noise.random()] * 2 for cell in CELLS}
    for effect in effects(rates):
        chosen = [TRICKS.index(name) for name in effect.tricks]
        sides = {True: [], False: []}
        for cell in product((False, True), repeat=4):
            sides[sum(not cell[i] for i in chosen) % 2 == 0].append(rates[cell][0])
        assert effect.mean == pytest.approx(fmean(sides[True]) - fmean(sides[False]))


def test_sixteen_methods_are_apart_and_one_learns():
    assert len({method(cell).fingerprint for cell in CELLS}) == 16
    before, after = (pass_rate((True, False, False, False), 0, 0.8, steps) for steps in (1, 6))
    assert after > before + 0.02


@pytest.mark.slow
def test_a_study_says_rates_effects_and_the_largest_interaction():
    told = []
    found = study(range(2), steps=1, rates=(0.5,), tell=lambda done, total: told.append((done, total)))
    assert told[-1] == (64, 64)
    assert len(found["cells"]) == 16
    assert len(found["largest_interaction"]["tricks"]) > 1


def test_one_seed_has_no_interval(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["lab", "tricks", "--seeds", "1"])
    assert "--seeds is at least 2" in capsys.readouterr().err
