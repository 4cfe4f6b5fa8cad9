"""Real work on a real NVIDIA GPU, so that there are joules per token to report and to test with."""
