"""From a question to an answer that cites what it rests on."""
