"""The policy as people write it: its model, TOML document, patterns, times and publishers, and text to paste."""
