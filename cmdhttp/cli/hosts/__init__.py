"""`cmdhttp hosts`: which keys a host shows, and what a host needs before commands can run there.

Both print text for an admin to judge and to paste. Neither changes a file, here or there, trusts a key, or shows a secret.
"""
