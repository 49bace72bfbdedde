"""Health of the machine and of every process; restarts what hangs."""
