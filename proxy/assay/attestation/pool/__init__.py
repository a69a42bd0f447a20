"""Verification off the event loop: worker processes, their protocol, and the process that they are forked from."""
