"""Synthetic street scenes: their images and videos, and true statements, captions and questions about them."""
