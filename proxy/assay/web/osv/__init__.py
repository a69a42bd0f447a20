"""Endpoints of the OSV API, so that tools read the advisories in force from this proxy, also without the internet."""
