"""Where the regions of a partly recovered network lie, and how to walk along the boundary of a neuron."""
