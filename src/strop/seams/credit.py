"""Credit: how much each decision earns. A chain over the whole batch; it never reads the moving policy.

A link gives `credit_R` or `credit_W` (spread over the decisions of the rollout, of the row), `credit_T`, the per-decision `reward_T`, the
`reward_W` of each row or another `reward_R` that a later link reads; or several tracks, as a dict by the names that its `gives` lists with
commas: `credit_T,return_T`. The last `credit_T` is what objectives read. Statistics over rollouts are of those the gate left in the batch,
context included; decisions are the trained ones only, so a prefix that a row repeats and leaves out comes once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from strop.seams.index import Index
from strop.seams.part import nearest, part


@part(gives="credit_R", formula="credit_R = reward_R")
def reward_itself(reward_R: Tensor) -> Tensor:
    """A[r] = reward[r]: REINFORCE without a baseline."""
    return reward_R.clone()


@part(gives="credit_R", needs=("group",), formula="credit_R = reward_R - mean(reward_R, group)")
def group_centered(reward_R: Tensor, index: Index) -> Tensor:
    """A[r] = reward[r] - mean(reward over r's group): each rollout against its siblings (Dr. GRPO, arXiv:2503.20783).

    >>> group_centered(torch.tensor([1.0, 0.0, 0.0, 0.0]), Index.one_group(4))
    tensor([ 0.7500, -0.2500, -0.2500, -0.2500])
    """
    mean_G = index.mean(reward_R, "rollout", "group")
    return reward_R - index.spread(mean_G, "group", "rollout")


@part(gives="credit_R", needs=("group",), formula="credit_R = reward_R - nested_mean(reward_R, nested_RD)")
def nested_centered(reward_R: Tensor, nested_RD: Tensor, index: Index) -> Tensor:
    """Each rollout against its group and against every sub-group it belongs to, all alike (TreePO, arXiv:2508.17445, eq. 5).

        A[r] = mean over d of (reward[r] - mean(reward over the sub-group of r at depth d))

    Depth 0 is the whole group; a deeper one counts where it holds more than one rollout. Depths are counted, not sets: where
    the same rollouts share two depths, their mean enters twice. Without sub-groups it is `group_centered`.

    Two of four share their first segment, and one of those two is right:

    >>> nested_centered(torch.tensor([1.0, 0.0, 0.0, 0.0]), torch.tensor([[0], [0], [1], [2]]), Index.one_group(4))
    tensor([ 0.6250, -0.3750, -0.2500, -0.2500])
    """
    mean_R = index.spread(index.mean(reward_R, "rollout", "group"), "group", "rollout")
    known_RD = nested_RD >= 0
    reward_N, key_N = reward_R[:, None].expand(nested_RD.shape)[known_RD], nested_RD[known_RD]
    count_K = torch.bincount(key_N, minlength=1)
    mean_K = reward_R.new_zeros(len(count_K)).index_add(0, key_N, reward_N) / count_K.clamp_min(1)
    counts_RD = known_RD & (count_K[nested_RD.clamp_min(0)] > 1)
    deeper_R = (mean_K[nested_RD.clamp_min(0)] * counts_RD).sum(1)
    return reward_R - (mean_R + deeper_R) / (1 + counts_RD.sum(1))


def _standardized_formula(*, unbiased: bool, **_: float) -> str:
    if not unbiased:
        return "credit_R = (reward_R - mean(reward_R, group)) / max(std(reward_R, group), {std_floor})"
    return """
        centered_R = reward_R - mean(reward_R, group)
        std_G = sqrt(sum(centered_R ** 2, group) / max(count(rollout, group) - 1, 1))
        credit_R = centered_R / max(std_G, {std_floor})
    """


@part(gives="credit_R", needs=("group",), formula=_standardized_formula)
def group_standardized(reward_R: Tensor, index: Index, *, std_floor: float = 1e-4, unbiased: bool = False) -> Tensor:
    """Center on the group's mean, then divide by its spread (GRPO, arXiv:2402.03300).

        A[r] = (reward[r] - mean) / max(std, std_floor)        both over r's group

    The division makes a nearly solved prompt weigh as much as an open one; `group_centered` stops before it. The
    std divides by G, or by G - 1 with `unbiased`. A group that agrees on its reward earns zero.

    >>> group_standardized(torch.tensor([1.0, 0.0, 0.0, 0.0]), Index.one_group(4))
    tensor([ 1.7321, -0.5774, -0.5774, -0.5774])
    """
    centered_R: Tensor = group_centered(reward_R, index)
    count_G = index.count("rollout", "group").to(reward_R.dtype)
    variance_G = index.sum(centered_R.square(), "rollout", "group") / (count_G - float(unbiased)).clamp_min(1)
    return centered_R / index.spread(variance_G.sqrt().clamp_min(std_floor), "group", "rollout")


@part(
    gives="credit_R",
    needs=("group",),
    formula="""
        n_G = count(rollout, group)
        credit_R = (reward_R - mean(reward_R, group)) * n_G / max(n_G - 1, 1)
    """,
)
def leave_one_out(reward_R: Tensor, index: Index) -> Tensor:
    """A[r] = reward[r] - mean(reward over r's siblings without r) (RLOO, arXiv:2402.14740).

    The baseline does not contain the rollout it judges, so the gradient is unbiased. It is
    `group_centered` times G / (G - 1). A rollout left alone in its group earns zero.

    >>> leave_one_out(torch.tensor([1.0, 0.0, 0.0, 0.0]), Index.one_group(4))
    tensor([ 1.0000, -0.3333, -0.3333, -0.3333])
    """
    count_R = index.spread(index.count("rollout", "group"), "group", "rollout").to(reward_R.dtype)
    return group_centered(reward_R, index) * count_R / (count_R - 1).clamp_min(1)


def _whiten_formula(*, center: bool, **_: float) -> str:
    spread = "spread = max(std(credit_T, batch, trained_T), {std_floor})\n"
    return spread + ("credit_T = (credit_T - mean(credit_T, batch, trained_T)) / spread" if center else "credit_T = credit_T / spread")


@part(gives="credit_T", formula=_whiten_formula)
def batch_whiten(credit_T: Tensor, trained_T: Tensor, *, std_floor: float = 1e-8, center: bool = True) -> Tensor:
    """Zero mean and unit spread over the trained decisions of the whole batch (REINFORCE++, arXiv:2501.03262).

    A batch without one stays as it is.
    """
    known_T = credit_T[trained_T]
    if known_T.numel() == 0:
        return credit_T
    mean = known_T.mean()
    std = (known_T - mean).square().mean().sqrt().clamp_min(std_floor)
    return (credit_T - mean) / std if center else credit_T / std


def kl_formula(estimator: str) -> str:
    """`kl_estimate` of log_ratio_T, as it is printed."""
    known = {"k1": "log_ratio_T", "k2": "log_ratio_T ** 2 / 2", "k3": "(exp(-log_ratio_T) - 1 + log_ratio_T)"}
    if estimator not in known:
        raise ValueError(f"unknown KL estimator {estimator!r}; use k1, k2 or k3")
    return known[estimator]


def _kl_in_reward_formula(*, estimator: str, **_: float) -> str:
    kl = kl_formula(estimator)
    return f"log_ratio_T = where(trained_T, old_logp_T - reference_logp_T, 0)\nreward_T = reward_T - {{coefficient}} * {kl}"


@part(gives="reward_T", needs=("reference",), formula=_kl_in_reward_formula)
def kl_in_reward(
    reward_T: Tensor, old_logp_T: Tensor, reference_logp_T: Tensor, trained_T: Tensor, *, coefficient: float = 0.01, estimator: str = "k1"
) -> Tensor:
    """Pay for leaving the reference: reward[t] - coefficient * KL estimate at t, at actions; what was forced is free.

    k1 = log(old / reference), k2 = k1^2 / 2, k3 = exp(-k1) - 1 + k1. Measured once, under the weights that
    start the update; a penalty that must follow the policy is the signal `kl_to`.
    """
    log_ratio_T = torch.where(trained_T, old_logp_T - reference_logp_T, torch.zeros_like(old_logp_T))
    return reward_T - coefficient * kl_estimate(log_ratio_T, estimator)


def kl_estimate(log_ratio: Tensor, estimator: str) -> Tensor:
    """KL(policy || reference) per sample from log(policy / reference) (Schulman's k1, k2, k3)."""
    if estimator == "k1":
        return log_ratio
    if estimator == "k2":
        return log_ratio.square() / 2
    if estimator == "k3":
        return (-log_ratio).exp() - 1 + log_ratio
    raise ValueError(f"unknown KL estimator {estimator!r}; use k1, k2 or k3")


@part(gives="credit_T", formula="credit_T = later_sum(reward_T, {gamma})")
def returns_to_go(reward_T: Tensor, index: Index, *, gamma: float = 1.0) -> Tensor:
    """A[t] = sum of later rewards of the same rollout, discounted by gamma per decision."""
    return _backwards(reward_T, index, gamma)


@part(
    gives="credit_T,return_T",
    needs=("value",),
    formula="""
        next_value_T = next(old_value_T, where(truncated_R, old_value_T, 0))
        delta_T = reward_T + {gamma} * next_value_T - old_value_T
        credit_T = later_sum(delta_T, {gamma} * {lam})
        return_T = credit_T + old_value_T
    """,
)
def gae(
    reward_T: Tensor, old_value_T: Tensor, truncated_R: Tensor, index: Index, *, gamma: float = 1.0, lam: float = 0.95
) -> dict[str, Tensor]:
    """Generalised advantage estimation (arXiv:1506.02438), along each rollout with its rows in order.

        delta[t] = reward[t] + gamma * V[t+1] - V[t]          A[t] = sum_k (gamma lam)^k delta[t+k]

    After the last decision V is 0, or, where the rollout was cut at its length limit, the last value: it did not end,
    it was stopped. Also gives `return_T` = A + V, the value head's target.
    """
    last_T = index.last()
    cut_T = index.spread(truncated_R, "rollout", "token")
    next_T = torch.cat([old_value_T[1:], old_value_T[-1:]])
    next_T = torch.where(last_T, torch.where(cut_T, old_value_T, torch.zeros_like(old_value_T)), next_T)
    delta_T = reward_T + gamma * next_T - old_value_T
    credit_T = _backwards(delta_T, index, gamma * lam)
    return {"credit_T": credit_T, "return_T": credit_T + old_value_T}


@part(
    gives="credit_T,return_T",
    needs=("value",),
    formula="""
        lam_T = clip(1 - 1 / ({alpha} * max(count(token, rollout), 1)), 0, 1)
        delta_T = reward_T + next(old_value_T, where(truncated_R, old_value_T, 0)) - old_value_T
        credit_T = later_sum(delta_T, lam_T)
        return_T = later_sum(delta_T, 1) + old_value_T
    """,
)
def gae_by_length(reward_T: Tensor, old_value_T: Tensor, truncated_R: Tensor, index: Index, *, alpha: float = 0.05) -> dict[str, Tensor]:
    """`gae` without discount, whose lambda is that of a rollout's length, 1 - 1 / (alpha * decisions), and at least 0: a long one looks as
    far ahead, in shares of itself, as a short one. The head's target looks ahead without end (VAPO, arXiv:2504.05118)."""
    if not alpha > 0:
        raise ValueError(f"gae_by_length(alpha={alpha}): above 0")
    last_T, cut_T = index.last(), index.spread(truncated_R, "rollout", "token")
    next_T = torch.cat([old_value_T[1:], old_value_T[-1:]])
    next_T = torch.where(last_T, torch.where(cut_T, old_value_T, torch.zeros_like(old_value_T)), next_T)
    delta_T = reward_T + next_T - old_value_T
    count_T = index.spread(index.count("token", "rollout").clamp_min(1), "rollout", "token")
    lam_T = (1 - 1 / (alpha * count_T.to(delta_T.dtype))).clamp(0, 1)
    return {"credit_T": _backwards(delta_T, index, lam_T), "return_T": _backwards(delta_T, index, 1.0) + old_value_T}


@part(
    gives="credit_R",
    needs=("group",),
    formula="credit_R = reward_R - sum(reward_R * greedy_R, group) / max(sum(greedy_R, group), 1)",
)
def over_greedy(reward_R: Tensor, greedy_R: Tensor, index: Index) -> Tensor:
    """A[r] = reward[r] - reward of the group's greedy reply (ReMax, arXiv:2310.10505), which the sampler `WithGreedy` adds and the grader
    `greedy` names. Where there is none the baseline is 0."""
    baseline_G = index.sum(reward_R * greedy_R, "rollout", "group") / index.sum(greedy_R, "rollout", "group").clamp_min(1)
    return reward_R - index.spread(baseline_G, "group", "rollout")


@part(
    gives="credit_T",
    formula="""
        covariance_T = (old_logp_T - mean(old_logp_T, batch)) * (credit_T - mean(credit_T, batch))
        credit_T = where(covariance_T > {most}, 0, credit_T)
    """,
)
def without_covariant(credit_T: Tensor, old_logp_T: Tensor, index: Index, *, most: float = 1.0) -> Tensor:
    """Nothing for decisions whose log-probability and credit rise together by more than `most`: those that take entropy away (Clip-Cov,
    arXiv:2505.22617, which leaves out a small share of them by chance). They count in the denominator."""
    covariance_T = (old_logp_T - old_logp_T.mean()) * (credit_T - credit_T.mean())
    return torch.where(covariance_T > most, torch.zeros_like(credit_T), credit_T)


@part(
    gives="score_T",
    formula="""
        known_T = score_T == score_T
        score_T = (score_T - mean(score_T, group, known_T)) / max(std(score_T, group, known_T), {std_floor})
    """,
)
def steps_standardized(score_T: Tensor, index: Index, *, std_floor: float = 1e-4) -> Tensor:
    """Center the scores of steps on their group's mean and divide by their spread (DeepSeekMath, arXiv:2402.03300, process supervision).

        score[t] = (score[t] - mean) / max(std, std_floor)        both over the scored decisions of t's group

    A score stands at a step's last decision, elsewhere is NaN, before and after. The std divides by n.
    """
    known_T = score_T.isfinite()
    scored = index.select(known_T)
    mean_G = scored.mean(score_T[known_T], "token", "group")
    centered_T = score_T - index.spread(mean_G, "group", "token")
    std_G = scored.mean(centered_T[known_T].square(), "token", "group").sqrt()
    return centered_T / index.spread(std_G.clamp_min(std_floor), "group", "token")


@part(
    gives="credit_T",
    formula="""
        known_T = score_T == score_T
        left_T = later_sum(known_T, 1)
        credit_T = later_sum(where(known_T, score_T, 0) / {gamma} ** left_T, 1) * {gamma} ** left_T
    """,
)
def step_returns(score_T: Tensor, index: Index, *, gamma: float = 1.0) -> Tensor:
    """What this step and later ones of the rollout score, discounted by gamma per step.

        A[t] = sum over the steps j that end at t or later of gamma^(j - k) * score[j], k the first of them

    A score stands at a step's last decision and elsewhere is NaN. What stands behind the last step earns nothing. A sum of scores that are
    never negative pays for every step, whatever it is worth: `steps_standardized` before it takes the group's mean away.
    """
    if not 0 < gamma <= 1:
        raise ValueError(f"step_returns(gamma={gamma}): a step's discount lies in (0, 1]")
    known_T = score_T.isfinite()
    left_T = _backwards(known_T.double(), index, 1.0)
    total_T = _backwards(torch.where(known_T, score_T.double() / gamma**left_T, 0.0), index, 1.0)
    return (total_T * gamma**left_T).to(score_T.dtype)


def _backwards(x_T: Tensor, index: Index, decay: float | Tensor) -> Tensor:
    """y[t] = x[t] + decay * y[t+1] within each rollout; doubling steps instead of a loop over decisions. A decay of each decision's own is
    the same all along a rollout."""
    rollout_T = index.up("token", "rollout")
    y_T, step, factor = x_T.clone(), 1, decay
    while step < len(y_T):
        same = rollout_T[step:] == rollout_T[:-step]
        if not bool(same.any()):
            break
        add = torch.zeros_like(y_T)
        weighed = (factor[:-step] if isinstance(factor, Tensor) else factor) * y_T[step:]
        add[:-step] = torch.where(same, weighed, torch.zeros_like(weighed))
        y_T, step, factor = y_T + add, step * 2, factor * factor
    return y_T


@part(
    gives="credit_R",
    needs=("group",),
    formula="""
        centered_R = reward_R - mean(reward_R, group)
        credit_R = centered_R / (sqrt(sum(centered_R ** 2, group) / max(count(rollout, group) - 1, 1)) + {eps})
    """,
)
def group_normalized(reward_R: Tensor, index: Index, *, eps: float = 1e-4) -> Tensor:
    """Center on the group's mean, then divide by its sample deviation plus a constant: what most libraries compute.

        A[r] = (reward[r] - mean) / (std + eps)        std with G - 1 under the root

    Against `group_standardized` every credit is sqrt((G - 1) / G) as large, 6% less at G = 8. eps is TRL's by default; it is felt
    where a group's rewards nearly agree, and it is the libraries' only difference here. A rollout left alone earns zero.

    >>> group_normalized(torch.tensor([1.0, 0.0, 0.0, 0.0]), Index.one_group(4), eps=0.0)
    tensor([ 1.5000, -0.5000, -0.5000, -0.5000])
    """
    centered_R: Tensor = group_centered(reward_R, index)
    free_G = (index.count("rollout", "group") - 1).clamp_min(1).to(reward_R.dtype)
    std_G = (index.sum(centered_R.square(), "rollout", "group") / free_G).sqrt()
    return centered_R / index.spread(std_G + eps, "group", "rollout")


@part(
    gives="credit_R",
    needs=("group",),
    formula="""
        n_G = count(rollout, group)
        centered_R = reward_R - mean(reward_R, group)
        own_R = centered_R * n_G / max(n_G - 1, 1)
        others_R = max(sum(centered_R ** 2, group) - own_R * centered_R, 0) / max(n_G - 2, 1)
        lowest_R = reward_R == min(reward_R, group)
        highest_R = reward_R == max(reward_R, group)
        agree_R = sum(lowest_R, group) - lowest_R == n_G - 1 or sum(highest_R, group) - highest_R == n_G - 1
        credit_R = where(agree_R, own_R, own_R / (sqrt(others_R) + {eps}))
    """,
)
def siblings_standardized(reward_R: Tensor, index: Index, *, eps: float = 1e-6) -> Tensor:
    """Center on the siblings' mean and divide by the siblings' deviation: the rollout is in neither (NeMo-RL).

        A[r] = (reward[r] - mean) / (std + eps)        both over r's group without r, std with its count - 1

    Where the siblings agree nothing is divided. So the only success in a group earns 1, while its siblings' failures are scaled up:

    >>> siblings_standardized(torch.tensor([1.0, 0.0, 0.0, 0.0]), Index.one_group(4))
    tensor([ 1.0000, -0.5773, -0.5773, -0.5773])
    """
    own_R: Tensor = leave_one_out(reward_R, index)
    centered_R: Tensor = group_centered(reward_R, index)
    count_R = index.spread(index.count("rollout", "group"), "group", "rollout").to(reward_R.dtype)
    all_R = index.spread(index.sum(centered_R.square(), "rollout", "group"), "group", "rollout")
    # taking r out of a sum of squares about the mean leaves the others' sum about their own mean
    others_R = (all_R - own_R * centered_R).clamp_min(0) / (count_R - 2).clamp_min(1)
    return torch.where(_siblings_agree(reward_R, index), own_R, own_R / (others_R.sqrt() + eps))


def _siblings_agree(reward_R: Tensor, index: Index) -> Tensor:
    """By comparison, not by a deviation of zero: rounding would leave a tiny one, and dividing by it explodes."""
    siblings_R = index.spread(index.count("rollout", "group"), "group", "rollout") - 1

    def at(extreme_G: Tensor) -> Tensor:
        here_R = (reward_R == index.spread(extreme_G, "group", "rollout")).to(torch.long)
        return index.spread(index.sum(here_R, "rollout", "group"), "group", "rollout") - here_R == siblings_R

    return at(index.max(reward_R, "rollout", "group")) | at(-index.max(-reward_R, "rollout", "group"))


@part(gives="reward_W", formula="reward_W = reward_R * {gamma} ** behind(row, rollout)")
def by_row(reward_R: Tensor, index: Index, *, gamma: float = 1.0) -> Tensor:
    """Each row of a rollout earns its reward, discounted by gamma for every row behind it: the last one earns all.

    >>> by_row(torch.tensor([1.0, 2.0]), Index.of([[[1, 1, 1], [1]]]), gamma=0.5)
    tensor([0.2500, 0.5000, 1.0000, 2.0000])
    """
    if not 0 < gamma <= 1:
        raise ValueError(f"by_row(gamma={gamma}): a row's discount lies in (0, 1]")
    return index.spread(reward_R, "rollout", "row") * gamma ** index.behind("row", "rollout").to(reward_R.dtype)


OVER = ("row", "rollout")


def _by_row_formula(*, over: str, **_: float) -> str:
    if over == "row":
        return "credit_W = (reward_W - mean(reward_W, group)) / max(std(reward_W, group), {std_floor})"
    return """
        mean_R = mean(reward_W, rollout)
        credit_W = (reward_W - mean(mean_R, group)) / max(std(mean_R, group), {std_floor})
    """


@part(gives="credit_W", needs=("group",), formula=_by_row_formula)
def row_standardized(reward_W: Tensor, index: Index, *, over: str = "row", std_floor: float = 1e-4) -> Tensor:
    """Center each row's reward on its group's mean and divide by the spread (WebResearcher, arXiv:2509.13309).

        A[w] = (reward[w] - mean) / max(std, std_floor)        over the rows of w's group, or over its rollouts

    Over rows the baseline is a sum of reward times rows by a sum of rows: rollouts of many rows count more. Over rollouts each counts once,
    by the mean of its rows. The std divides by n.

    A success of one row beside a failure of three:

    >>> index = Index.of([[[1], [1, 1, 1]]])
    >>> reward_W = by_row(torch.tensor([1.0, 0.0]), index)
    >>> row_standardized(reward_W, index)
    tensor([ 1.7321, -0.5774, -0.5774, -0.5774])
    >>> row_standardized(reward_W, index, over="rollout")
    tensor([ 1., -1., -1., -1.])
    """
    if over not in OVER:
        raise ValueError(f"row_standardized(over={over!r}): {' or '.join(OVER)}. {nearest(over, OVER)}")
    one_X = reward_W if over == "row" else index.mean(reward_W, "row", "rollout")
    mean_G = index.mean(one_X, over, "group")
    std_G = index.mean((one_X - index.spread(mean_G, "group", over)).square(), over, "group").sqrt()
    return (reward_W - index.spread(mean_G, "group", "row")) / index.spread(std_G.clamp_min(std_floor), "group", "row")


@part(gives="reward_T", formula="reward_T = where(last(rollout), credit_R, 0)")
def credit_at_end(credit_R: Tensor, index: Index) -> Tensor:
    """The credit so far becomes the reward of the rollout's last decision, for links that work per decision.

    Between a group statistic and `kl_in_reward` it keeps the KL out of the statistic: only the outcome is normalised.
    """
    return torch.where(index.last(), index.spread(credit_R, "rollout", "token"), 0.0)


@part(
    gives="reward_R",
    needs=("reference",),
    formula="reward_R = reward_R - {coefficient} * sum(where(trained_T, old_logp_T - reference_logp_T, 0), rollout)",
)
def kl_in_outcome(
    reward_R: Tensor, old_logp_T: Tensor, reference_logp_T: Tensor, trained_T: Tensor, index: Index, *, coefficient: float = 0.05
) -> Tensor:
    """reward[r] - coefficient * sum of log(old / reference) over r's actions: the rollout as one action (RLOO, arXiv:2402.14740).

    Against `kl_in_reward` the cost stands before the baseline, so siblings are compared on reward and KL together.
    """
    log_ratio_T = torch.where(trained_T, old_logp_T - reference_logp_T, torch.zeros_like(old_logp_T))
    return reward_R - coefficient * index.sum(log_ratio_T, "token", "rollout")
