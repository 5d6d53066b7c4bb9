"""cmdhttp runs the commands that an admin has published, for callers that may run them, over HTTP."""

__version__ = "0.1.0"
