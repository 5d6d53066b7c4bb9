"""What the verbs share that call a service: the way to it, the screen, the end of a job and its exit code."""
