"""Tasks on top of search: classification, tags, recommendations, captions, answers and their cache."""
