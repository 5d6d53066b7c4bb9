"""The executor for this machine, and the only package that starts processes.

The front's side is `executor` and `link`: pipes, and an order to the broker. The other side starts processes: `guards` belong to
the broker, and each `guard` runs one command. A process gets exactly its argv, an environment built from nothing, a private
folder, and a session of its own. When the run ends, for whatever reason, nothing of it is left and its folder is gone.
"""
