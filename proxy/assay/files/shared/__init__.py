"""Downloads of replicas that share a storage: from the object storage, the replica that is downloading, or the index.

`plan` chooses the sources of a download. `lease` makes one replica fetch a file from its index. `keeper` stores
finished files as objects, and `uses` removes objects that were last used long ago.
"""
