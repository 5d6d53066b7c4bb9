"""What an admin asks of a policy: why (`explain`), who may what (`table`), and what a change gives away (`diff`).

Everything here speaks about decisions and makes none: each verdict that it shows is one of `policy.decide`. Pure.
"""
