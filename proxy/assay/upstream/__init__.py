"""HTTP client for package indexes: permitted addresses, credentials, redirects, retries and limits on responses."""
