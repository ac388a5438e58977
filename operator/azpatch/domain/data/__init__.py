"""Data that ships with azpatch, each file with its source and date.

`matrix-*`: the revisions of the support matrix. `marketplace-*` and `automatic-*`: the rules about
marketplace images and the list of automatic guest patching, which a revision names. A released file
is not changed, except for an entry that was wrong: new data is a new file.
"""
