"""Parts of the commands for the state of a proxy: `assay ledger` and `assay database`."""
