"""The report: what was learnt, what it brought and what was refused, as one local page and a few lines in the terminal."""
