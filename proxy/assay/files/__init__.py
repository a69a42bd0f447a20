"""Bytes and METADATA of approved files. Both are cached; a file is downloaded once for all clients."""
