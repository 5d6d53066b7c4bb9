"""The broker: the small process that starts local programs for the front, if its own copy of the policy allows them.

It has no network, no loop and one thread. It believes the front in nothing but who is calling: what is to run it works out
itself from the policy files, and compares. What it starts dies with it, and with the front.
"""
