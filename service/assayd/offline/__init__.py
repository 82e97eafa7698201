"""Whole data sets, offline: read, annotated through the service's own wire, journalled, written, summed up."""
