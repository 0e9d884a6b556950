"""The night: collect, make examples, tune in a child process, judge, promote; and the clock that starts it."""
