"""The only owner of the camera: writes frames into the ring and says so on the bus."""
