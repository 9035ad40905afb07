"""Vectors at rest: chunks, their vectors and words in Milvus, searched by meaning, by words and by filter."""
