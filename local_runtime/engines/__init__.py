"""What every engine keeps: the protocol, the echo engine of tests, vocabularies and detokenizing."""
