"""REST, MJPEG, `/ws` and the web client on the home network."""
