"""What a rule has to know of the optimizer whose step it bounds."""
