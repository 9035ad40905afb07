"""The recipe of florence-tiny: losses, data and training scripts."""
