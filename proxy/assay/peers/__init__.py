"""Requests between replicas that share a storage: signatures, addresses and the client. The listener is `web.peers`."""
