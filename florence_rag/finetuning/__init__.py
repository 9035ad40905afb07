"""Trains models on one's own data: dual towers, METER, detectors; what comes out opens by name like any other."""
