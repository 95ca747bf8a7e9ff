"""The parts of a gradient: whose they are, how large each is, and scaling them in place."""
