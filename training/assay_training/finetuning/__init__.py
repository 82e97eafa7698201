"""What every training of a language model shares, whatever it is trained for: models, batches, checkpoints, cards."""
