"""What a lockfile pins, read from its text. Pure; judges nothing and fetches nothing."""
