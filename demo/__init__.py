"""Demo, run by ``make demo``: Assay in front of two small local indexes, which shows every verdict within a minute.

This package has the content of the indexes, the policy, and the stories: the results that the demo promises. It needs
no network. The test world (tests/world) makes the distributions, the indexes and the signatures, and does not depend on
this package. The proxy is the product as ``assay serve`` runs it, with the real clock. The demo is not shipped.
"""
