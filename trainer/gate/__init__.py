"""Whether a new adapter may serve: judged through the compiled model that would serve it, on what it has not seen."""
