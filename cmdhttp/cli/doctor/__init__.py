"""`cmdhttp doctor`: is this machine, with these settings, fit to serve? Asked before a start, or while a service runs.

A check looks at one thing that `serve` needs and says `ok`, `warn` or `fail`, what it saw, and how to mend it. Nothing is
changed: what is made to find out is removed, and what a running service holds is only asked.
"""
