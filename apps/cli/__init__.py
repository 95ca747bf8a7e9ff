"""The command line: Hydra composes, mistakes end in one line, and nodes become objects."""
