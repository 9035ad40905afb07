"""The command line, `florence-rag`: thin commands over FlorenceRAG."""

from florence_rag.cli.app import main

__all__ = ["main"]
