"""The nervous system of the robot: topics, codec, transports, the frame ring and the process runner."""
