"""The HTTP door: routes parse, call the service, and encode. No decision is made here."""
