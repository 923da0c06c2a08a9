"""Learners: who computes gradients and moves weights. Each is a function of (policy, method, recipe)."""
