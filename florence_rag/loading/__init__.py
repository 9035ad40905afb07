"""Turns the names of models into components, which are loaded when they are first used."""
