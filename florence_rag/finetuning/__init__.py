"""Trains dual encoders, METER, detectors and action models on your own data; the result opens by its folder's name."""
