"""Which index owns a name. Pure."""
