"""The model: a client for hosts, the host itself, and what a model folder must be."""
