"""One run from sources to rows."""
