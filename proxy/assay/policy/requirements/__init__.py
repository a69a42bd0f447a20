"""What a rule may ask of a file: a module for each requirement, and the list of them all. Pure."""
