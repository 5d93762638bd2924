"""Live recognition: online features, the encoder step by step, an online lattice, and sessions around them."""
