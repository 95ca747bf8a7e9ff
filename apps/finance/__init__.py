"""Finance: volatility, return distribution, risk."""
