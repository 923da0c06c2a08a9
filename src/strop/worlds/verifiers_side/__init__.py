"""verifiers_side: files that run under a Python of their own, which has `verifiers` 0.4 and nothing of strop."""
