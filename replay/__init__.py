"""What another policy would have earned."""
