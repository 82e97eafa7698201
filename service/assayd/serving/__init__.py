"""The service on a port: how it takes connections in, and how it takes its leave."""
