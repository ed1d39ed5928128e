"""An answer in milliseconds, always."""
