"""HTTP: routes, conditional requests, ranges, answers, and the server itself. Decides nothing about files."""
