"""What runs on an SSH host itself: a guard in Python, and a smaller one in POSIX sh for a host that has no Python.

`guard.py` and `guard.sh` are never imported or run here. They are read as text and travel in the command line of a channel;
`lines.py` makes those lines.
"""
