"""A quadratic over matrices whose gradients have heavy-tailed noise of low rank."""
