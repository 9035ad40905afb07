"""`python -m florence_rag` is `florence-rag`."""

from florence_rag.cli import main

main()
