"""Who is near, now."""
