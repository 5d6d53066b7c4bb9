"""The guard: a small resident process that runs one command at a time and outlives every process of it.

It is the subreaper of what it starts, so nothing can get away from it; it kills all that is left when the run is over, when
the front goes away, and when the broker goes away. It imports the standard library only, so that it is small and starts fast.
"""
