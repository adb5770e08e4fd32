"""Exit codes of the command line."""

CLAIM_REACHED = 0
INCOMPLETE = 1
BAD_INPUT = 2
