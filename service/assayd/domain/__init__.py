"""The words of Assay as types: standard library only, no I/O, no HTTP.

Import from the modules themselves; this package re-exports nothing.
"""
