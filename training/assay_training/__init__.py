"""Makes the models that Assay serves."""
