"""Pages: each module has a layout and `register(app, ...)`, which wires its callbacks."""
