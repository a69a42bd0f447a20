"""Pages for people: what this proxy is, what it thinks of a project and why, and its policy in words.

Rendered here, without scripts and without anything from elsewhere. They decide nothing: what they show is the verdicts
that the other routes obey.
"""
