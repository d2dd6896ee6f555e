"""This service beside its peers: the same model and the same load, each side served its own way."""
