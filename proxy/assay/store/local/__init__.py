"""Parts of a storage directory that belong to the one process that uses it, in any engine. Begin with `tier`."""
