"""Motors, pan and tilt: the only process that moves the robot."""
