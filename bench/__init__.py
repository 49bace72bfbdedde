"""Benchmarks and drills: each prints a table, `JSON=1` the same as JSON, `CHECK=1` fails where an aim is missed."""
