"""Whether two networks are one function: over common ReLU units, case by case where these differ."""
