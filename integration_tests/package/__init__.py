"""The wheel and the sdist: how they are built, and what they install."""
