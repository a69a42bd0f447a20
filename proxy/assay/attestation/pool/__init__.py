"""Verification outside the event loop: the pool of worker processes, their start, and the protocol between them."""
