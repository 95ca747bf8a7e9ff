"""A quadratic with heavy-tailed noise in its gradient, and a known optimum."""
