"""The bytes of approved files and their METADATA: cached, or downloaded once for all clients."""
