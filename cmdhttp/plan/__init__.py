"""Exactly what will run: a template and its arguments become argv, one step per host. Pure."""
