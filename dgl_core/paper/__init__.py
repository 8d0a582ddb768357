"""What the paper says, and whether it holds: experiments, theory, claims, tables."""
