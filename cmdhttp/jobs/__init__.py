"""Every accepted call, kept: its state, its numbered events, its output, and the supervisor that owns its runs."""
