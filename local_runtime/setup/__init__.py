"""`understudy setup`: from nothing to a model that answers, chosen for this machine."""
