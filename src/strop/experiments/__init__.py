"""Experiments: how each method could be wrong. One paper, one file, under its method's name; nothing in `methods/` imports one."""
