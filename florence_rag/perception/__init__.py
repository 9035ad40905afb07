"""What models say of one picture: the words in it, and answers about it."""
