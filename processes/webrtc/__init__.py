"""Video and the control channel to viewers: one encode for all, signalling, data channels."""
