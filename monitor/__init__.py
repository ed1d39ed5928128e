"""What the exploration is doing, live."""
