"""The pure part (law 2): values in, values with reasons out. No I/O, no clock, no logging, no frameworks."""
