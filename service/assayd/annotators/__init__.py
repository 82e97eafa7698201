"""Pure algorithms around one or two engine calls; each sees one rollout and reads like its paper."""
