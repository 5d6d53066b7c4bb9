"""Runs one step and tells what happens. It cannot reach the policy, so it cannot ask for more than the plan says."""
