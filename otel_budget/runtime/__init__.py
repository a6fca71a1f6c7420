"""The runtime's half: asking a guard, acting on what it decides, reporting usage."""
