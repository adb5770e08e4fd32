"""Along a boundary, from one region to the next: each crossing is one equation in the row of its neuron."""
