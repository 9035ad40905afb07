"""A drawn street world: scenes, their pictures, and everything true that can be said and asked about them."""
