"""The server: listening, connections and their limits, TLS, and the private names of aiohttp."""
