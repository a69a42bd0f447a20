"""Ledger of permanent facts in SQLite: the database, its rows, and its form as text.

Begin with `ledger`, which implements `assay.ports.Ledger`.
"""
