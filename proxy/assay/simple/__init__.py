"""Simple Repository API as indexes serve it: the model, the page parsers and content negotiation. Pure."""
