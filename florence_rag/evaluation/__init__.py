"""Measures models on data sets in published formats with the published metrics."""
