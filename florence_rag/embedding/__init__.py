"""Pictures and texts as unit vectors in one space."""
