"""The command and the services: parses arguments, reads configs, wires the five packages together."""
