"""Sounds: one at a time, from one folder, through the sound card or a simulated speaker."""
