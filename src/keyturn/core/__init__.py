"""The rules of Keyturn. Pure: no I/O, no clock, no randomness of ours; ``now`` is an argument."""
