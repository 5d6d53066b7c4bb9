"""The caller's side of the HTTP API: requests, and the care that a call over a bad network needs.

It speaks HTTP like any other caller and knows nothing of the rooms of the service. TLS is always verified, redirects are
never followed, and no proxy is taken from the environment.
"""
