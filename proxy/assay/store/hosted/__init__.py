"""Storage of hosted indexes in a local directory, and the hosted indexes as `assay.ports.Index`."""
