"""Other programs' dialects, so that a client made for another server works with this one: one module each.

What a client asks that cannot be honoured is either refused (where the answer would be another than the one asked for) or
left out and reported as left out in the reply. The model that answers is always the daemon's, whatever name a client sends:
a name in its settings only picks the client's own template.
"""
