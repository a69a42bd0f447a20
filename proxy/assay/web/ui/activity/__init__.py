"""HTML pages about what clients used and what was refused: overview, refusals and search.

`responder` reads the recorded facts, and the other modules render them as pure functions.
"""
