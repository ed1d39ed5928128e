"""Networks that learn with torch, in the process that trains; nothing else imports it."""

__all__: list[str] = []
