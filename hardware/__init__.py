"""Drivers of the robot's pins, shared by the processes that own them.

Real hardware (lgpio on a Pi 5, pigpiod on a Pi 4 and older) and the simulator are reached through the same code.
"""
