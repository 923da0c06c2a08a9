"""The reference: what each seam of a method is, read from the code itself.

    source.py     signatures, fields and what is said of them, from syntax trees: nothing is imported
    seams.py      the table of seams, and what a part at each of them may read, as method building checks it
    pages.py      a page per seam: its blocks, as Markdown or for a terminal
    ragged.py     Index in one table, with a picture of a ragged batch

`strop parts` shows it, `strop parts --page DIR` writes docs/reference/.
"""
