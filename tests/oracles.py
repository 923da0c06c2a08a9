"""Every published method once more: numpy and loops over tokens, by hand down to the slopes, importing nothing of strop.

A batch is a list of groups, a group a list of rollouts (those that count in its statistics), both plain data:

    rollout   reward; mode: what it is labelled, -1 for nothing; length: what was written; kept: is it trained; cut: did it end at its
              length limit; weight; rows: how many; tokens: its trained decisions in order
    token     at: its place in the batch; row: its number in the rollout; action: did the policy draw it, or was it forced or taught
              (taught); score: of the step that it ends, None where it ends none or nobody scored it; and the log-probabilities
              now, old, sampled, reference, with the value head's value and old_value

An oracle gives the loss and its slope in each token's `now` (for PPO, then in each `value`; for FlowRL, in each kept rollout's `logz`).
"""

from functools import partial

import numpy as np


def acted(rollout):
    return [t for t in rollout["tokens"] if t["action"]]


def learning(group):
    """Rollouts that have something to train."""
    return [r for r in group if r["kept"] and acted(r)]


def tokens_of(batch):
    return sum(len(acted(r)) for g in batch for r in learning(g))


def flat(batch):
    return np.zeros(sum(len(r["tokens"]) for g in batch for r in g))


def rewards_of(group):
    return np.array([r["reward"] for r in group])


def clipped(log_ratio, advantage, low, high):
    """PPO's surrogate and its slope in the log-probability: none once the ratio is beyond the clip on the advantage's side."""
    ratio = np.exp(log_ratio)
    if (advantage > 0 and ratio > 1 + high) or (advantage < 0 and ratio < 1 - low):
        return -np.clip(ratio, 1 - low, 1 + high) * advantage, 0.0
    return -ratio * advantage, -ratio * advantage


def grpo_strop(batch, sample=False):
    """`sample`: the deviation is that of a sample plus 1e-6, as in arXiv:2505.20258."""
    loss, slope = 0.0, flat(batch)
    groups = [g for g in batch if learning(g)]
    for group in groups:
        rewards = rewards_of(group)
        spread = max(np.sqrt(np.mean((rewards - rewards.mean()) ** 2)), 1e-4)
        spread = np.sqrt(((rewards - rewards.mean()) ** 2).sum() / max(len(group) - 1, 1)) + 1e-6 if sample else spread
        for rollout in learning(group):
            share = rollout["weight"] / len(acted(rollout)) / len(learning(group)) / len(groups)
            for t in acted(rollout):
                value, steep = clipped(t["now"] - t["old"], (rollout["reward"] - rewards.mean()) / spread, 0.2, 0.2)
                loss += share * value
                slope[t["at"]] += share * steep
    return loss, slope


def grpo_deepseekmath(batch, beta=0.04):
    """Equation 3, with the unbiased estimate of the KL, equation 4. Intuitor's, section 3, is the same with another beta."""
    loss, slope = 0.0, flat(batch)
    groups = [g for g in batch if learning(g)]
    for group in groups:
        rewards = rewards_of(group)
        spread = max(np.sqrt(np.mean((rewards - rewards.mean()) ** 2)), 1e-4)
        for rollout in learning(group):
            share = rollout["weight"] / len(acted(rollout)) / len(learning(group)) / len(groups)
            for t in acted(rollout):
                value, steep = clipped(t["now"] - t["old"], (rollout["reward"] - rewards.mean()) / spread, 0.2, 0.2)
                over = np.exp(t["reference"] - t["now"])
                loss += share * (value + beta * (over - np.log(over) - 1))
                slope[t["at"]] += share * (steep + beta * (1 - over))
    return loss, slope


def grpo_trl(batch):
    """trl 1.16.0, trainer/grpo_trainer.py 2660-2698, 2768-2787, 3113-3176."""
    loss, slope, tokens = 0.0, flat(batch), tokens_of(batch)
    for group in batch:
        rewards = rewards_of(group)
        deviation = np.sqrt(((rewards - rewards.mean()) ** 2).sum() / max(len(group) - 1, 1))
        for rollout in learning(group):
            advantage = (rollout["reward"] - rewards.mean()) / (deviation + 1e-4)
            correction = np.exp(sum(t["old"] - t["sampled"] for t in acted(rollout)))
            correction = 0.0 if correction > 3.0 else correction
            for t in acted(rollout):
                value, steep = clipped(t["now"] - t["old"], advantage, 0.2, 0.2)
                loss += rollout["weight"] * correction * value / tokens
                slope[t["at"]] += rollout["weight"] * correction * steep / tokens
    return loss, slope


def grpo_verl(batch):
    """verl 0.9.1, trainer/ppo/core_algos.py 267-330, 1286-1374, 1170-1176. A rollout without siblings keeps its raw reward there."""
    loss, slope, tokens = 0.0, flat(batch), tokens_of(batch)
    for group in batch:
        rewards = rewards_of(group)
        deviation = np.sqrt(((rewards - rewards.mean()) ** 2).sum() / max(len(group) - 1, 1))
        for rollout in learning(group):
            advantage = (rollout["reward"] - rewards.mean()) / (deviation + 1e-6)
            for t in acted(rollout):
                value, steep = clipped(t["now"] - t["old"], advantage, 0.2, 0.2)
                if advantage < 0 and value > -3.0 * advantage:
                    value, steep = -3.0 * advantage, 0.0
                loss += rollout["weight"] * value / tokens
                slope[t["at"]] += rollout["weight"] * steep / tokens
    return loss, slope


def grpo_openrlhf(batch):
    """openrlhf 0.11.2, trainer/ppo_utils/experience_maker.py 205-325, 390-430; models/utils.py 131-165; models/loss.py 26-40, 186-205."""
    loss, slope, tokens = 0.0, flat(batch), tokens_of(batch)
    for group in batch:
        rewards = rewards_of(group)
        deviation = np.sqrt(((rewards - rewards.mean()) ** 2).sum() / max(len(group) - 1, 1))
        for rollout in learning(group):
            to_go = (rollout["reward"] - rewards.mean()) / (deviation + 1e-9)
            for t in reversed(rollout["tokens"]):
                if not t["action"]:
                    continue
                to_go -= 0.01 * (t["old"] - t["reference"])
                value, steep = clipped(t["now"] - t["old"], to_go, 0.2, 0.2)
                loss += rollout["weight"] * value / tokens
                slope[t["at"]] += rollout["weight"] * steep / tokens
    return loss, slope


def grpo_prime_rl(batch):
    """prime-rl 0.8.0, orchestrator/algo/grpo.py 28, orchestrator/filters.py 107, trainer/rl/loss.py 109-149, train.py 318-334."""
    loss, slope = 0.0, flat(batch)
    sent = [(r, r["reward"] - rewards_of(g).mean()) for g in batch for r in learning(g)]
    sent = [(rollout, advantage) for rollout, advantage in sent if abs(advantage) > 1e-9]
    tokens = sum(len(acted(rollout)) for rollout, _ in sent)
    for rollout, advantage in sent:
        for t in acted(rollout):
            log_ratio, moved = t["now"] - t["sampled"], np.exp(t["now"]) - np.exp(t["sampled"])
            masked = moved > 0.2 if advantage > 0 else moved < -0.2
            gain = 0.0 if masked else np.exp(log_ratio) * advantage
            loss += rollout["weight"] * (-gain + 1e-3 * log_ratio**2) / tokens
            slope[t["at"]] += rollout["weight"] * (-gain + 2e-3 * log_ratio) / tokens
    return loss, slope


def grpo_nemo_rl(batch):
    """nemo-rl 0.7.0, algorithms/utils.py 41-195, algorithms/advantage_estimator.py 68-82, algorithms/loss/loss_functions.py 405-500."""
    loss, slope, tokens = 0.0, flat(batch), tokens_of(batch)
    for group in batch:
        for rollout in learning(group):
            others = np.array([r["reward"] for r in group if r is not rollout])
            advantage = rollout["reward"] - others.mean() if len(others) else 0.0
            if len(others) > 1 and np.ptp(others) > 0:
                advantage /= others.std(ddof=1) + 1e-6
            for t in acted(rollout):
                value, steep = clipped(t["now"] - t["old"], advantage, 0.2, 0.2)
                over = np.exp(t["reference"] - t["now"])
                kl, kl_steep = over - np.log(over) - 1, 1 - over
                kl, kl_steep = (10.0, 0.0) if kl > 10.0 else (kl, kl + kl_steep)
                loss += rollout["weight"] * (value + 0.01 * kl) / tokens
                slope[t["at"]] += rollout["weight"] * (steep + 0.01 * kl_steep) / tokens
    return loss, slope


def grpo_tinker(batch):
    """tinker-cookbook 0.6.1, rl/data_processing.py 24-43; tinker-docs.thinkingmachines.ai/tinker/losses/importance-sampling."""
    loss, slope = 0.0, flat(batch)
    for group in batch:
        for rollout in learning(group):
            for t in acted(rollout):
                lost = -np.exp(t["now"] - t["sampled"]) * (rollout["reward"] - rewards_of(group).mean())
                loss += rollout["weight"] * lost
                slope[t["at"]] += rollout["weight"] * lost
    return loss, slope


def dr_grpo(batch):
    """arXiv:2503.20783: neither the spread nor the rollout's own length divides; 128 is the largest length."""
    loss, slope = 0.0, flat(batch)
    groups = [g for g in batch if learning(g)]
    for group in groups:
        for rollout in learning(group):
            share = rollout["weight"] / 128 / len(learning(group)) / len(groups)
            for t in acted(rollout):
                value, steep = clipped(t["now"] - t["old"], rollout["reward"] - rewards_of(group).mean(), 0.2, 0.2)
                loss += share * value
                slope[t["at"]] += share * steep
    return loss, slope


def dapo(batch):
    """arXiv:2503.14476: groups with spread only, rollouts cut at their limit only as siblings, the upper clip higher, tokens alike."""
    loss, slope = 0.0, flat(batch)
    sent = [(r, g) for g in batch if len(set(rewards_of(g))) > 1 for r in learning(g) if not r["cut"]]
    tokens = sum(len(acted(rollout)) for rollout, _ in sent)
    for rollout, group in sent:
        rewards = rewards_of(group)
        spread = max(np.sqrt(np.mean((rewards - rewards.mean()) ** 2)), 1e-4)
        for t in acted(rollout):
            value, steep = clipped(t["now"] - t["old"], (rollout["reward"] - rewards.mean()) / spread, 0.2, 0.28)
            loss += rollout["weight"] * value / tokens
            slope[t["at"]] += rollout["weight"] * steep / tokens
    return loss, slope


def websailor(batch):
    """arXiv:2509.13305: the group's mean taken off and nothing divided, what was cut only a sibling, clipped higher, tokens alike."""
    loss, slope = 0.0, flat(batch)
    sent = [(r, g) for g in batch for r in learning(g) if not r["cut"]]
    tokens = sum(len(acted(rollout)) for rollout, _ in sent)
    for rollout, group in sent:
        for t in acted(rollout):
            value, steep = clipped(t["now"] - t["old"], rollout["reward"] - rewards_of(group).mean(), 0.2, 0.28)
            loss += rollout["weight"] * value / tokens
            slope[t["at"]] += rollout["weight"] * steep / tokens
    return loss, slope


def doctoragent_rl(batch):
    """arXiv:2505.19630: a deviation with G - 1 and a small constant, the upper clip higher, tokens alike; no KL."""
    loss, slope, tokens = 0.0, flat(batch), tokens_of(batch)
    for group in batch:
        rewards = rewards_of(group)
        deviation = np.sqrt(((rewards - rewards.mean()) ** 2).sum() / max(len(group) - 1, 1)) + 1e-6
        for rollout in learning(group):
            for t in acted(rollout):
                value, steep = clipped(t["now"] - t["old"], (rollout["reward"] - rewards.mean()) / deviation, 0.2, 0.28)
                loss += rollout["weight"] * value / tokens
                slope[t["at"]] += rollout["weight"] * steep / tokens
    return loss, slope


def swarm(batch, sample=False):
    """arXiv:2509.08721: whoever wrote it, its group's statistics, one clip, the mean over the batch's tokens. `sample`: genrl 0.1.4."""
    loss, slope = 0.0, flat(batch)
    written = [(r, g, t) for g in batch for r in g if r["kept"] for t in r["tokens"] if t["action"] or t["taught"]]
    for rollout, group, t in written:
        rewards = rewards_of(group)
        spread = max(np.sqrt(np.mean((rewards - rewards.mean()) ** 2)), 1e-4)
        spread = np.sqrt(((rewards - rewards.mean()) ** 2).sum() / max(len(group) - 1, 1)) + 1e-8 if sample else spread
        value, steep = clipped(t["now"] - t["old"], (rollout["reward"] - rewards.mean()) / spread, 0.2, 0.28)
        loss += rollout["weight"] * value / len(written)
        slope[t["at"]] += rollout["weight"] * steep / len(written)
    return loss, slope


def rloo(batch):
    """arXiv:2402.14740: the siblings' mean as baseline, the rollout as one action, REINFORCE."""
    loss, slope = 0.0, flat(batch)
    groups = [g for g in batch if learning(g)]
    for group in groups:
        for rollout in learning(group):
            others = [r["reward"] for r in group if r is not rollout]
            advantage = rollout["reward"] - np.mean(others) if others else 0.0
            for t in acted(rollout):
                share = rollout["weight"] / len(learning(group)) / len(groups)
                loss -= share * advantage * t["now"]
                slope[t["at"]] -= share * advantage
    return loss, slope


def rloo_trl(batch):
    """trl 1.16.0, trainer/rloo_trainer.py 1664-1690, 1822-1833."""
    loss, slope, rollouts = 0.0, flat(batch), sum(len(learning(g)) for g in batch)
    for group in batch:
        paid = [r["reward"] - 0.05 * sum(t["old"] - t["reference"] for t in acted(r)) for r in group]
        for rollout, own in zip(group, paid, strict=True):
            if not (rollout["kept"] and acted(rollout)):
                continue
            advantage = own - (sum(paid) - own) / (len(paid) - 1) if len(paid) > 1 else 0.0
            value, steep = clipped(sum(t["now"] - t["old"] for t in acted(rollout)), advantage, 0.2, 0.2)
            loss += rollout["weight"] * value / rollouts
            for t in acted(rollout):
                slope[t["at"]] += rollout["weight"] * steep / rollouts
    return loss, slope


def reinforce_pp(batch):
    """arXiv:2501.03262: returns of reward and KL, whitened over every trained token of the batch; PPO's clip."""
    found = []
    for group in batch:
        for rollout in group:
            to_go = rollout["reward"]
            for t in reversed(rollout["tokens"]) if rollout["kept"] else ():
                to_go -= 0.01 * (t["old"] - t["reference"]) if t["action"] else 0.0
                found += [(t, rollout["weight"], to_go)] if t["action"] else []
    returns = np.array([to_go for _, _, to_go in found])
    loss, slope = 0.0, flat(batch)
    for t, weight, to_go in found:
        value, steep = clipped(t["now"] - t["old"], (to_go - returns.mean()) / max(returns.std(), 1e-8), 0.2, 0.2)
        loss += weight * value / len(found)
        slope[t["at"]] += weight * steep / len(found)
    return loss, slope


def stable_reinforce(batch, window=False):
    """arXiv:2505.02835: the return of every token whitened over the batch, nothing beyond three deviations, the log-ratio bounded, each
    rollout its own length. `window`: as released, between the raw mean less and plus three, and KL to the start in the reward."""
    found = []
    for rollout in (r for group in batch for r in learning(group) if acted(r)):
        to_go = rollout["reward"]
        for t in reversed(rollout["tokens"]):
            to_go -= 0.001 * (t["old"] - t["reference"]) if window and t["action"] else 0.0
            found += [(t, rollout, to_go)] if t["action"] else []
    returns = np.array([to_go for _, _, to_go in found])
    loss, slope = 0.0, flat(batch)
    rollouts = len({id(rollout) for _, rollout, _ in found})
    for t, rollout, to_go in found:
        z = (to_go - returns.mean()) / max(returns.std(), 1e-4)
        kept = returns.mean() - 3 <= z <= returns.mean() + 3 and abs(z) <= 10 if window else abs(z) <= 3
        away = t["now"] - t["old"]
        value, steep = clipped(min(max(away, np.log(1e-3)), np.log(1e3)), z if kept else 0.0, 0.2, 0.2)
        share = rollout["weight"] / rollouts / len(acted(rollout))
        loss += share * value
        slope[t["at"]] += share * steep * (1e-3 < np.exp(away) < 1e3)
    return loss, slope


def gspo(batch, rows=False, counted=False):
    """arXiv:2507.18071: the geometric mean of the rollout's ratios, clipped within 3e-4 below and 4e-4 above. arXiv:2509.13313: of every
    row's, with its rollout's advantage, and the mean over a group's `rows`. arXiv:2509.13309: rows are `counted` in mean and deviation."""
    loss, slope = 0.0, flat(batch)
    groups = [g for g in batch if learning(g)]
    for group in groups:
        rewards = np.repeat(rewards_of(group), [r["rows"] if counted else 1 for r in group])
        spread = max(np.sqrt(np.mean((rewards - rewards.mean()) ** 2)), 1e-4)
        units = [(r, acted(r)) for r in learning(group)]
        if rows:
            units = [(r, [t for t in every if t["row"] == row]) for r, every in units for row in sorted({t["row"] for t in every})]
        for rollout, written in units:
            share = rollout["weight"] / len(units) / len(groups)
            mean = np.mean([t["now"] - t["old"] for t in written])
            value, steep = clipped(mean, (rollout["reward"] - rewards.mean()) / spread, 3e-4, 4e-4)
            loss += share * value
            for t in written:
                slope[t["at"]] += share * steep / len(written)
    return loss, slope


def cispo(batch):
    """arXiv:2506.13585: the ratio, limited above only, is a constant weight on the log-probability."""
    loss, slope, tokens = 0.0, flat(batch), tokens_of(batch)
    for group in batch:
        rewards = rewards_of(group)
        spread = max(np.sqrt(np.mean((rewards - rewards.mean()) ** 2)), 1e-4)
        for rollout in learning(group):
            for t in acted(rollout):
                limited = min(np.exp(t["now"] - t["old"]), 1.28) * (rollout["reward"] - rewards.mean()) / spread
                loss -= rollout["weight"] * limited * t["now"] / tokens
                slope[t["at"]] -= rollout["weight"] * limited / tokens
    return loss, slope


def ppo(batch):
    """arXiv:1707.06347, KL of 0.05 in the reward: GAE at 0.95, whitened; half the clipped squared error of the value, weighing 0.5."""
    found = []
    for group in batch:
        for rollout in group:
            steps = rollout["tokens"] if rollout["kept"] else []
            following = steps[-1]["old_value"] if steps and rollout["cut"] else 0.0
            reward, advantage = rollout["reward"], 0.0
            for t in reversed(steps):
                reward -= 0.05 * (t["old"] - t["reference"]) if t["action"] else 0.0
                advantage = reward + following - t["old_value"] + 0.95 * advantage
                following, reward = t["old_value"], 0.0
                found += [(t, rollout["weight"], advantage, advantage + t["old_value"])] if t["action"] else []
    raw = np.array([advantage for _, _, advantage, _ in found])
    loss, slope, value_slope = 0.0, flat(batch), flat(batch)
    for t, weight, advantage, target in found:
        value, steep = clipped(t["now"] - t["old"], (advantage - raw.mean()) / max(raw.std(), 1e-8), 0.2, 0.2)
        near = t["old_value"] + np.clip(t["value"] - t["old_value"], -0.2, 0.2)
        held = abs(t["value"] - t["old_value"]) > 0.2 and (near - target) ** 2 > (t["value"] - target) ** 2
        loss += weight * (value + 0.25 * max((t["value"] - target) ** 2, (near - target) ** 2)) / len(found)
        slope[t["at"]] += weight * steep / len(found)
        value_slope[t["at"]] += 0.0 if held else weight * 0.5 * (t["value"] - target) / len(found)
    return loss, np.concatenate([slope, value_slope])


def flowrl(batch):
    """arXiv:2509.15207, equation of its objective: trajectory balance, the answer's whole ratio clipped to [0.8, 1.2] as its weight."""
    loss, slope, logz_slope = 0.0, flat(batch), []
    rollouts = sum(len(learning(g)) for g in batch)
    for group in batch:
        rewards = rewards_of(group)
        deviation = np.sqrt(((rewards - rewards.mean()) ** 2).sum() / max(len(group) - 1, 1))
        for rollout in group:
            logz_slope += [0.0] if rollout["kept"] else []
            if not (rollout["kept"] and acted(rollout)):
                continue
            now, old, reference = (np.array([t[name] for t in acted(rollout)]) for name in ("now", "old", "reference"))
            gap = rollout["logz"] + now.mean() - 15 * (rollout["reward"] - rewards.mean()) / (deviation + 1e-6) - reference.mean()
            share = np.clip(np.exp(now.sum() - old.sum()), 0.8, 1.2) * rollout["weight"] / rollouts
            loss += share * gap**2
            logz_slope[-1] = share * 2 * gap
            for t in acted(rollout):
                slope[t["at"]] += share * 2 * gap / len(now)
    return loss, np.concatenate([slope, logz_slope])


def treepo(batch):
    """arXiv:2508.17445, equation 5, whitened as its code does; TreePO@f055523, trainer/ppo/core_algos.py 284-355."""
    loss, slope, found = 0.0, flat(batch), []
    for group in (g for g in batch if len(set(rewards_of(g))) > 1):
        for rollout in learning(group):
            gains = [rollout["reward"] - rewards_of(group).mean()]
            for depth, key in enumerate(rollout["nested"]):
                shared = [r["reward"] for r in group if r["nested"][depth : depth + 1] == [key]]
                gains += [rollout["reward"] - np.mean(shared)] if len(shared) > 1 else []
            found += [(t, rollout["weight"], np.mean(gains)) for t in acted(rollout)]
    raw = np.array([advantage for _, _, advantage in found])
    for t, weight, advantage in found:
        value, steep = clipped(t["now"] - t["old"], (advantage - raw.mean()) / max(raw.std(), 1e-8), 0.2, 0.28)
        loss += weight * value / len(found)
        slope[t["at"]] += weight * steep / len(found)
    return loss, slope


def abstain(batch):
    """As the bundled GRPO, but nothing divides by the group's spread."""
    loss, slope = 0.0, flat(batch)
    groups = [g for g in batch if learning(g)]
    for group in groups:
        for rollout in learning(group):
            share = rollout["weight"] / len(acted(rollout)) / len(learning(group)) / len(groups)
            for t in acted(rollout):
                value, steep = clipped(t["now"] - t["old"], rollout["reward"] - rewards_of(group).mean(), 0.2, 0.2)
                loss += share * value
                slope[t["at"]] += share * steep
    return loss, slope


def pathfinder_rl(batch):
    """Process supervision as in arXiv:2402.03300, section 4.1.3, over a judge's scores of steps."""
    loss, slope = 0.0, flat(batch)
    groups = [g for g in batch if learning(g)]
    for group in groups:
        known = np.array([t["score"] for r in group for t in r["tokens"] if t["score"] is not None])
        mean, spread = (known.mean(), max(known.std(), 1e-4)) if len(known) else (0.0, 1.0)
        for rollout in learning(group):
            share = rollout["weight"] / len(acted(rollout)) / len(learning(group)) / len(groups)
            for place, t in enumerate(rollout["tokens"]):
                if t["action"]:
                    later = [s["score"] for s in rollout["tokens"][place:] if s["score"] is not None]
                    value, steep = clipped(t["now"] - t["old"], sum((score - mean) / spread for score in later), 0.2, 0.2)
                    loss += share * value
                    slope[t["at"]] += share * steep
    return loss, slope


def of_modes(group, modes=2, times=1, strict=False):
    """What each mode of a group earns against the others, as in arXiv:2505.02156: nothing in a group where too few occur too rarely."""
    found = {}
    for rollout in group:
        found.setdefault(rollout["mode"], []).append(rollout)
    malformed = found.pop(-1, [])
    if (malformed and strict) or sum(len(members) >= times for members in found.values()) < modes:
        return {}

    def among(number):
        level = {mode: np.mean([r[number] for r in members]) for mode, members in found.items()}
        numbers = np.array(list(level.values()))
        gaps = {mode: (value - numbers.mean()) / (numbers.std(ddof=1) + 1e-6) for mode, value in level.items()}
        return gaps, numbers.max() - numbers.min() <= 1e-6

    better, tie = among("reward")
    return {mode: -np.tanh(gap) for mode, gap in among("length")[0].items()} if tie else better


def ampo(batch, on=of_modes, alike=False):
    """`alike`: every token of the batch weighs the same, as released; else every reply of its group."""
    loss, slope = 0.0, flat(batch)
    groups, tokens = [g for g in batch if learning(g)], tokens_of(batch)
    for group in groups:
        rewards, level = rewards_of(group), on(group)
        deviation = np.sqrt(((rewards - rewards.mean()) ** 2).sum() / max(len(group) - 1, 1)) + 1e-6
        for rollout in learning(group):
            advantage = (rollout["reward"] - rewards.mean()) / deviation + level.get(rollout["mode"], 0.0)
            share = rollout["weight"] / (tokens if alike else len(acted(rollout)) * len(learning(group)) * len(groups))
            for t in acted(rollout):
                value, steep = clipped(t["now"] - t["old"], advantage, 0.2, 0.2)
                over = np.exp(t["reference"] - t["now"])
                loss += share * (value + 0.001 * (over - np.log(over) - 1))
                slope[t["at"]] += share * (steep + 0.001 * (1 - over))
    return loss, slope


ORACLES = {
    "grpo@strop-1": grpo_strop,
    "grpo@deepseekmath-2402.03300": grpo_deepseekmath,
    "grpo@trl-1.16": grpo_trl,
    "grpo@verl-0.9": grpo_verl,
    "grpo@openrlhf-0.11": grpo_openrlhf,
    "grpo@prime-rl-0.8": grpo_prime_rl,
    "grpo@nemo-rl-0.7": grpo_nemo_rl,
    "grpo@tinker-0.6": grpo_tinker,
    "dr-grpo": dr_grpo,
    "dapo": dapo,
    "rloo": rloo,
    "rloo@trl-1.16": rloo_trl,
    "reinforce++": reinforce_pp,
    "stable-reinforce": stable_reinforce,
    "stable-reinforce@r1-reward-3693413": partial(stable_reinforce, window=True),
    "gspo": gspo,
    "resum-grpo": partial(gspo, rows=True),
    "webresearcher": partial(gspo, rows=True, counted=True),
    "cispo": cispo,
    "ppo": ppo,
    "flowrl": flowrl,
    "intuitor": partial(grpo_deepseekmath, beta=0.005),
    "treepo": treepo,
    "abstain": abstain,
    "ada-grpo": partial(grpo_strop, sample=True),
    "ampo": ampo,
    "ampo@mozerwang-88e70d5": partial(ampo, on=partial(of_modes, modes=4, times=2, strict=True), alike=True),
    "mind-grpo": grpo_strop,
    "webexplorer-grpo": grpo_strop,
    "doctoragent-rl-grpo": doctoragent_rl,
    "mcp-bench": grpo_strop,
    "webweaver-grpo": grpo_strop,
    "websailor-grpo": websailor,
    "formalmath-released": grpo_strop,
    "pathfinder-rl": pathfinder_rl,
    "parallel-grpo": partial(grpo_strop, sample=True),
    "parallel-bonus": partial(grpo_strop, sample=True),
    "swarm": swarm,
    "swarm@genrl-0.1.4": partial(swarm, sample=True),
}
