"""One module for each command group; each is thin and imports what it needs when it runs."""
