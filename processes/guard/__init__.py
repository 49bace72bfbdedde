"""The second pair of eyes: when motion dies or hangs, guard brings the motor pins to zero."""
