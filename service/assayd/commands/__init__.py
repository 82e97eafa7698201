"""The commands of ``assayd``, one module each."""
