"""Does a decision arrive? Sends canary decisions through a user's own pipeline, hop by hop.

`run` orchestrates; `canary` runs in the processes; each of the other modules checks one hop.
"""
