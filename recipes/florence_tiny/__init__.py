"""Losses, data and recipes that train the models we ship. Only the command line imports it."""
