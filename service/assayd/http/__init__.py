"""The wire: routes, schemas, errors."""
