"""From a question to an answer that cites its evidence."""
