"""Listener for the other replicas, which stream running downloads from this one."""
