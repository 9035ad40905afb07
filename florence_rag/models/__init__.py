"""The networks of the Florence paper, as transformers models."""
