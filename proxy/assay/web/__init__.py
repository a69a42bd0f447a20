"""HTTP interface: routes, authentication, conditional and range requests, responses, and the server.

This package decides nothing about files.
"""
