"""Checks that overrule every approval (step 1 of docs/policy-semantics.md, "Precedence"): one module for each. Pure."""
