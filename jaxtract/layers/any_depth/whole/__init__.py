"""The whole network: its output layer, its values, and whether fresh queries refute it."""
