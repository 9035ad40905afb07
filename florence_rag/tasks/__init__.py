"""What frozen features are good for besides search: to classify, to tag, to recommend, to remember answers."""
