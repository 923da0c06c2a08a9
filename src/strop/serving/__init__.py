"""serving: a policy that is trained, behind an address: how it answers, what a rollout says there, and the sampler that lets it."""
