"""``shype demo``: the main job told as a list of public commands, then the attacks that must fail."""
