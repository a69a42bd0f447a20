"""Renewal of the bundled trust roots by TUF, in a process of its own, and the report of the roots in force."""
