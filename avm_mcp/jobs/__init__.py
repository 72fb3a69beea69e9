"""The engine: a paid request from its submit to the saved video."""
