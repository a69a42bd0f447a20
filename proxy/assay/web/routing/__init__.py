"""Routes, and the resolution of request targets to them. Begin with `targets`."""
