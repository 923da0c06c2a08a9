"""The contract of a part, looked at before step 0: on random ragged batches, twice, in another order, against what it prints.

    of_method   its parts, and what they are together      of_source   tasks, splits, grading
    of_file     everything that a file defines             of_claim    its measures, arms and held-out tasks

strop's own parts pass the same exams in its tests. Each gives findings, one a promise that is kept or broken.
"""
