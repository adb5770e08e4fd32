"""The prime that ranks and solutions over the rationals are guessed with, before they are proven."""

PRIME = (1 << 61) - 1
"""What is regular modulo this prime is regular over the rationals; the converse fails by accident only."""
