"""Storage in PostgreSQL, which several replicas share. Only this package imports asyncpg.

Begin with `database`, the connections, and `schema`, the tables and roles.
"""
