"""Does a decision arrive? Sends canary decisions through a user's own pipeline, hop by hop.

`run` orchestrates; `canary` is what runs in the processes; the other modules each check one hop.
"""
