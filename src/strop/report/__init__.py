"""A run, to look at: one picture (`curve`) and one self-contained page (`page`)."""
