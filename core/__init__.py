"""The heart of Parley: what happens to a message, free of any platform, database or model library."""
