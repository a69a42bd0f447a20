"""Policy language: model, TOML document, patterns, values, times, and policy text that Assay proposes."""
