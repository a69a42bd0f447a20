"""Evidence source for GitHub's attestation store, on github.com or on a GitHub Enterprise server."""
