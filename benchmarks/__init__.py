"""Side-by-side measurements: Assay, the limit (nginx), a bare aiohttp server, and peers, in one run (`make bench`)."""
