"""Generates damaged and malicious files, one module per kind, and writes them with good files between them."""

from hostile_files.write import KINDS, kind_of, write_files

__all__ = ["KINDS", "kind_of", "write_files"]
