"""Storage that several replicas share: a local tier, PostgreSQL, and object storage. Begin with `storage`.

`settings` and `key_file` import neither asyncpg nor obstore, which may not be installed.
"""
