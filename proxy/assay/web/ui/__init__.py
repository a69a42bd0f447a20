"""HTML pages for people: the home page, the verdicts on a project with their reasons, and the policy in words.

The pages use no scripts and no external resources. They decide nothing: they show the verdicts that apply on all other
routes.
"""
