"""May this caller run this command with these values on these hosts? Pure but for reading the files."""
