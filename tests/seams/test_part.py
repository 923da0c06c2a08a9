import dataclasses
import json
import subprocess
import sys

import pytest

from strop.seams.credit import gae, group_standardized
from strop.seams.objective import clipped_surrogate, policy_gradient, sequence_ratio
from strop.seams.part import Part, body, describe, fingerprint, nearest, part


@part(gives="credit_R")
def own(reward_R: float, *, scale: float = 2.0) -> float:
    return scale * reward_R


def test_a_part_says_what_it_reads_and_which_constants_it_has():
    assert clipped_surrogate.reads == ("logp_T", "old_logp_T", "credit_T", "weight_T")
    assert clipped_surrogate(clip_low=0.1).constants == {"clip_low": 0.1, "clip_high": 0.2, "dual_clip": None}
    assert sequence_ratio.grain == "rollout"
    assert gae.gives == "credit_T,return_T"
    assert repr(clipped_surrogate(clip_high=0.28, clip_low=0.1)) == "clipped_surrogate(clip_high=0.28, clip_low=0.1)"


def test_binding_constants_and_calling_on_data_are_the_function():
    assert own(3.0) == 6.0
    assert own(scale=5.0)(3.0) == 15.0
    assert own(scale=5.0)(scale=7.0).on({"reward_R": 3.0, "more": None}) == 21.0
    assert own(3.0, scale=4.0) == 12.0


def test_the_order_in_which_constants_are_bound_does_not_matter():
    one, other = clipped_surrogate(clip_low=0.1)(clip_high=0.3), clipped_surrogate(clip_high=0.3, clip_low=0.1)
    assert one == other
    assert hash(one) == hash(other)
    assert one != clipped_surrogate(clip_low=0.1)


def test_a_default_written_out_is_the_same_description():
    assert describe(clipped_surrogate(clip_low=0.2)) == describe(clipped_surrogate)
    assert fingerprint(group_standardized(std_floor=1e-3)) != fingerprint(group_standardized)


def test_a_constant_that_does_not_exist_is_refused_with_the_nearest_one():
    with pytest.raises(ValueError, match=r"has no constant 'clip_hihg'\. Did you mean 'clip_high'"):
        clipped_surrogate(clip_hihg=0.3)


def test_lambdas_and_closures_are_no_parts():
    held = 3.0

    def closure(reward_R: float) -> float:
        return held * reward_R

    for function in (lambda reward_R: reward_R, closure):
        with pytest.raises(ValueError, match="at module level whose constants are keyword-only"):
            part()(function)


def test_what_cannot_be_described_is_refused():
    for value in (object(), lambda: 0, {1: object()}, [open]):
        with pytest.raises(ValueError, match="cannot describe"):
            describe(value)


def test_a_description_is_plain_json_and_says_that_foreign_code_is_foreign():
    @dataclasses.dataclass(frozen=True)
    class Foreign:
        a: tuple[int, ...] = (1, 2)

    said = json.loads(json.dumps(describe([own(scale=1.5), Foreign(), policy_gradient, {"k": None}])))
    assert said[0] == {"part": "strop_recipe.own", "version": 1, "with": {"scale": 1.5}, "body": body(own)}
    assert said[1] == {"part": f"strop_recipe.{Foreign.__qualname__}", "version": 1, "with": {"a": [1, 2]}, "body": body(Foreign)}
    assert said[2] == {"part": "policy_gradient", "version": 1, "with": {}}


def test_a_new_version_of_a_part_is_another_fingerprint():
    assert fingerprint(dataclasses.replace(own, version=2)) != fingerprint(own)


def test_a_set_has_one_fingerprint_in_every_process():
    code = "from strop.seams.part import fingerprint; print(fingerprint({'some', 'words', 'in', 'a', 'set'}))"
    found = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_the_nearest_names_are_offered_and_otherwise_all():
    assert nearest("grop", ["grpo", "ppo"]) == "Did you mean 'grpo'?"
    assert nearest("xyz", ["grpo", "ppo"]) == "Known: grpo, ppo."


def test_a_part_keeps_its_documentation():
    assert isinstance(own, Part)
    assert "group" in (group_standardized.__doc__ or "")
