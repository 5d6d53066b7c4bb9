"""The policy in force, and how the next one takes its place."""
