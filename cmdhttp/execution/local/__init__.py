"""The executor for this machine, and the only package that starts processes.

A process gets exactly its argv, an environment built from nothing, a private folder, and a session of its own. When the
run ends, for whatever reason, its process group has been killed and its folder is gone.
"""

from cmdhttp.execution.local.executor import LocalExecutor
from cmdhttp.execution.local.process import remove_folder

__all__ = ["LocalExecutor", "remove_folder"]
