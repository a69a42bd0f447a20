"""What Assay keeps, in one directory of its own: blobs, records, the ledger.

`directory` owns the directory and opens the three parts in it; each part is a module that implements its protocol of
`assay.ports`. Everything read back is hostile until checked.
"""
