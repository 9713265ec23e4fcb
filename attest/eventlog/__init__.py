"""Event logs: what a platform says it measured, and the replay that turns the claim into a fact."""
