"""How a connection comes about: whom to believe, by which means to log in, and the dial itself.

Nothing of the service account is used but what a profile of the policy names, and no means is shown to a host that has not
proved itself.
"""
