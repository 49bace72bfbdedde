"""Finds dogs in the camera's pictures, follows them, and tells what they do."""
