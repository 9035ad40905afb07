"""Building blocks that several of the networks share."""
