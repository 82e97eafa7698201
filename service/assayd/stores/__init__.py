"""Where finished annotations are remembered: byte stores behind one protocol."""
