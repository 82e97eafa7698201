"""Whether the hosted models are the ones that they were: canaries whose answers are stored, and what is kept apart."""
