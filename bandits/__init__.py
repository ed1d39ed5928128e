"""What to try, and with what probability."""
