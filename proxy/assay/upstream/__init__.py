"""The only outbound sockets: the hosts that may be contacted, their credentials, and the responses read from them."""
