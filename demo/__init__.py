"""The pair on a laptop: the real handlers, a local AWS, and stand-ins for the rest."""
