"""Requirements that a rule can make of a file: one module for each requirement, and the list of all of them. Pure."""
