"""Checks a database for damage, and repairs it."""
