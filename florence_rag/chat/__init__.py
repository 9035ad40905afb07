"""A conversation with an index: messages that refer to earlier results, and answers that cite theirs by number."""
