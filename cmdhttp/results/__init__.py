"""What a command printed, as data: bytes in, JSON values or the reason why not out. Output is untrusted, whoever ran it."""
