"""The web page: a platform of our own, seen through the feed."""
