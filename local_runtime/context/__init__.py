"""What else the model is shown, and what it never is: related chunks, ignore rules, secret rules. Pure Python, no tvm."""
