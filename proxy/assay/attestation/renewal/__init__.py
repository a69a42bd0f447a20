"""Renewal of the bundled trust roots by TUF in a separate process, and status reports on the trust roots in force."""
