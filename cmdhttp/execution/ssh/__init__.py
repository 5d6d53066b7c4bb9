"""The executor for SSH hosts, and the only package that imports asyncssh.

Nothing of the service account leaks in: no ssh configuration, agent, default key or default known_hosts is ever read. A
host must prove itself by a key that is recorded for its own name before any login is attempted, and what a host says is
never repeated in an error.
"""

from cmdhttp.execution.ssh.executor import SshExecutor

__all__ = ["SshExecutor"]
