"""`understudy demo`: a file is typed into the real language server; then a house style is learnt, and it is typed again."""
