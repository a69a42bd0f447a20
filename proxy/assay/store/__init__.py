"""What Assay keeps, in one directory of its own: blobs, records, the ledger.

`factory` opens the storage as `assay.ports.Storage`, and is all that is imported from outside besides `settings`.
`directory` owns the directory and opens the parts in it; each part is a module that implements its protocol of
`assay.ports`. Everything read back is hostile until checked.
"""
