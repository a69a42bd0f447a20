"""The page at ``/``: what this is, and how to point installers at it. Static and without external resources."""

from __future__ import annotations

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Assay</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem;color-scheme:light dark}
pre{overflow:auto;padding:.7rem;border:1px solid}</style></head>
<body><main><h1>Assay</h1>
<p>This is a package index in front of PyPI. It verifies the provenance of every distribution and lists and serves only
what the organisation's policy approves. A file that is withheld answers 403 and says why.</p>
<h2>Use it</h2>
<p>Replace <code>ADDRESS</code> by the address of this page.</p>
<pre>pip install --index-url ADDRESS/simple/ requests
uv pip install --index-url ADDRESS/simple/ requests</pre>
<p>The index: <a href="simple/">simple/</a></p></main></body></html>
"""


def home_page() -> bytes:
    """The page, UTF-8."""
    return _PAGE.encode()
