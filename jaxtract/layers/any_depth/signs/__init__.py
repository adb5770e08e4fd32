"""Which side of its boundary each neuron of a layer is on."""
