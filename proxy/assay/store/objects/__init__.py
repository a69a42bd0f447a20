"""Object storage that several replicas share: S3, and other services and directories through obstore.

Only this package imports obstore, which belongs to the extra `scale`.
"""
