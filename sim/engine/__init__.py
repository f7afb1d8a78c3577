"""The pool as a discrete-event model: negotiator, schedd, startds and what comes and goes. The only importer of SimPy."""
