"""Moves an index to another embedder."""
