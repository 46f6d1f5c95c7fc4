"""The Docker image: how it is built, and what is asked of it."""
