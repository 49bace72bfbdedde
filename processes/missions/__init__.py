"""The mode, and the missions: training by rules that the owner can read."""
