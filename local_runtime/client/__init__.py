"""The daemon seen from outside: requests, wire format, sockets, starting and stopping it, and its options."""
