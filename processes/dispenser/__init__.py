"""Treats, counted truly, and lights."""
