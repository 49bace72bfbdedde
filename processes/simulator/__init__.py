"""The simulated machine: pigpiod's socket protocol in front, physics behind the pins."""
