"""Things with a forward pass and named sites: the one-layer transformer and the closed-form oracles."""
