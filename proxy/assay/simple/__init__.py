"""The Simple Repository API, inbound: its model, content negotiation and the page parsers. Pure."""
