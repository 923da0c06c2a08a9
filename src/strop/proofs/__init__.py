"""Proofs: statements, a kernel that checks them, verdicts that withstand attacks, and a prover that tries a statement's negation.

| module | what it is |
|---|---|
| `logic` | statements: read, written, closed, denied |
| `kernel` | checks that a term proves a statement |
| `session` | a read-eval-print loop around the kernel, with all that may be attacked in one |
| `coq` | Coq in the same place, kept warm in a cell |
| `gates` | from a checker's reply to a verdict: the released rule, and the gates |
| `attacks` | twelve ways to have a false statement counted as proven |
| `search` | a prover, for the negation of what may be false |
| `truth` | z3: what is true, whoever can prove it |
| `made` | statements, and one edit of their meaning |
"""
