"""Embedders: images and texts as unit vectors of one space."""
