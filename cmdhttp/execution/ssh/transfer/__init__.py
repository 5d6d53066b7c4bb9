"""The files of runs on SSH hosts: sent before the start, collected after the end, by SFTP."""
