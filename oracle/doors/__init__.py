"""The doors for somebody else's gradient: a function, a NumPy pair, a module, a network."""
