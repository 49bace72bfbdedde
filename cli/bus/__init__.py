"""`wimz bus`: look at the bus, ask on it, speak on it, record it."""
