"""The `mlc_llm` engine: MLC's own command and server, out of an environment that the user names. Imports nothing of MLC's."""
