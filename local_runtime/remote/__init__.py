"""The remote engine: a completion server that the user names, asked over HTTP. Nothing here runs unless the settings say so."""
