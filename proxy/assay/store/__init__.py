"""Storage engine on a directory: blobs, records, the ledger and the spool.

Other packages import only two modules: `factory`, which opens the storage as `assay.ports.Storage`, and `settings`.
`directory` locks the directory and opens its parts. Each part is a module that implements a protocol of `assay.ports`.
All data that is read back is untrusted until it is checked.
"""
