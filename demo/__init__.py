"""``make demo``: Assay before two small indexes of its own, offline, so that every verdict can be seen within a minute.

Owns the stories: what the indexes list, the policy that judges it, and what people are promised to see. The test world
(tests/world) makes the distributions, the indexes and the signatures; what serves is the product, as ``assay serve``
runs it, over the real clock. A package beside `proxy` and `tests`: it is run by people, it is not shipped, and the test
world knows nothing of it.
"""
