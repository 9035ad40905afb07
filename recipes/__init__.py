"""Recipes that trained the models we ship; they are not part of the wheel."""
