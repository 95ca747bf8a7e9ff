"""Energy demand: probabilistic forecasts a day ahead."""
